"""How pictures are saved."""

import struct

import pytest

from cnn_zoo.errors import UserError
from cnn_zoo.plots.style import DPI, WIDTH, new_figure, picture_style, save_picture


def draw(path):
  with picture_style():
    figure = new_figure(2)
    figure.subplots().set_title("a name with $signs$")
    save_picture(figure, path)


def test_equal_figures_give_equal_bytes(tmp_path):
  paths = [tmp_path / "new" / "folder" / f"{name}.png" for name in "ab"]
  for path in paths:
    draw(path)
  first, second = (path.read_bytes() for path in paths)
  assert first == second and struct.unpack(">II", first[16:24]) == (WIDTH * DPI, 2 * DPI)


def test_a_matplotlibrc_file_changes_nothing(tmp_path, monkeypatch):
  import matplotlib

  draw(tmp_path / "a.png")
  monkeypatch.setitem(matplotlib.rcParams, "axes.facecolor", "red")
  draw(tmp_path / "b.png")
  assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


@pytest.mark.parametrize(
  ("name", "message"),
  [
    ("file/x/a.png", "out='.*/file/x' cannot be written: Not a directory; valid: a folder that can be"),
    ("a.jpg", r"out='.*/a\.jpg' must end with \.png"),
  ],
)
def test_mistakes(tmp_path, name, message):
  (tmp_path / "file").touch()
  with pytest.raises(UserError, match=f"^{message}$"):
    draw(tmp_path / name)

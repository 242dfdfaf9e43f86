"""scripts/visualize.py."""

import json
import struct
import subprocess
import sys

import pytest

from cnn_zoo.describe.comparison import compare, to_markdown
from cnn_zoo.plots.diagrams import PICTURES
from cnn_zoo.plots.style import DPI, WIDTH
from tests.helpers import ROOT


def visualize(*arguments):
  script = ROOT / "scripts" / "visualize.py"
  return subprocess.run([sys.executable, script, *arguments], capture_output=True, text=True, cwd="/", check=False)


def size_of_png(path):
  head = path.read_bytes()[:24]
  assert head[:8] == b"\x89PNG\r\n\x1a\n"
  return struct.unpack(">II", head[16:24])


def test_convolutions(tmp_path):
  """The pictures of the guide, as they are in the repository."""
  out = tmp_path / "new" / "pictures"
  result = visualize("convolutions", f"--out={out}")
  assert result.returncode == 0, result.stderr
  paths, table = result.stdout.split("\n\n")
  assert paths.split("\n") == [str(out / f"{name}.png") for name in PICTURES]
  assert table == to_markdown(compare())
  for name in PICTURES:
    drawn, kept = out / f"{name}.png", ROOT / "docs" / "convolutions" / f"{name}.png"
    assert size_of_png(drawn) == size_of_png(kept) and size_of_png(drawn)[0] == WIDTH * DPI
    assert max(drawn.stat().st_size, kept.stat().st_size) < 150_000


def make_run(folder):
  rows = [
    {"split": split, "step": step, "epoch": step / 20, "loss": 1 / step, "top1": step / 100}
    for step in range(10, 100, 10)
    for split in ("train", "val")
  ]
  folder.mkdir()
  (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
  return f"--workdir={folder}"


def test_runs(tmp_path):
  out = tmp_path / "runs.png"
  workdirs = [make_run(tmp_path / name) for name in ("a", "b")]
  drawn = visualize("runs", *workdirs, f"--out={out}")
  assert (drawn.returncode, drawn.stdout) == (0, f"{out}\n"), drawn.stderr
  assert out.stat().st_size > 10_000


@pytest.mark.parametrize(
  ("arguments", "message"),
  [
    (
      ["convolutions", "--out={folder}/file"],
      "out='{folder}/file' cannot be written: File exists; valid: a folder that can be",
    ),
    (["convolutions", "--workdir={folder}"], "--workdir belongs to the command 'runs'"),
    (["runs", "--workdir={folder}/a"], "--out is missing; valid: --out=FILE.png"),
    (
      ["runs", "--workdir={folder}/a", "--workdir={folder}/a", "--out=a.png"],
      "workdir=a: give the folders of two different runs or more",
    ),
  ],
)
def test_mistakes(tmp_path, arguments, message):
  (tmp_path / "file").touch()
  make_run(tmp_path / "a")
  result = visualize(*(argument.format(folder=tmp_path) for argument in arguments))
  assert (result.returncode, result.stdout) == (2, "")
  assert result.stderr == f"error: {message.format(folder=tmp_path)}\n"

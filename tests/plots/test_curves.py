"""The learning curves of a run and of several runs."""

import cv2
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb

from cnn_zoo.errors import UserError
from cnn_zoo.plots import curves
from cnn_zoo.plots.style import DPI, SERIES, WIDTH


def make_rows(speed=1.0, metric="top1", evaluated=("val",), final=True):
  """The rows of a run whose loss falls at `speed`."""
  rng, rows = np.random.default_rng(0), []
  for step in range(10, 210, 10):
    progress = float(1 - np.exp(-speed * step / 100))
    loss = float(2.3 * (1 - progress) * rng.uniform(0.8, 1.2) + 0.01)
    row = {"step": step, "epoch": step / 20, "loss": loss, metric: progress}
    rows.append({"split": "train", "learning_rate": 0.1 / step, **row})
    if step % 20 == 0:
      rows += [{"split": split, **row, metric: progress - 0.01} for split in evaluated]
  if final:
    rows.append({"split": "test", "step": 200, "epoch": 10.0, "loss": 0.5, metric: 0.8})
  return rows


@pytest.fixture
def drawn(monkeypatch):
  """What reaches the axes: (label, x, y) of each curve."""
  curves_, plot = [], Axes.plot

  def noted(axis, x, y, **style):
    curves_.append((style.get("label"), list(x), list(y)))
    return plot(axis, x, y, **style)

  monkeypatch.setattr(Axes, "plot", noted)
  return curves_


def test_a_run_with_validation(tmp_path, drawn):
  rows = make_rows()
  curves.draw_curves(rows, tmp_path / "curves.png", "title", "top1", "top-1 accuracy")
  assert [label for label, _, _ in drawn] == ["train", "train", "val", "val", "test", "test", None]
  validation = [row for row in rows if row["split"] == "val"]
  assert drawn[3][1:] == ([row["epoch"] for row in validation], [100 * row["top1"] for row in validation])
  assert drawn[5] == ("test", [10.0], [80.0])
  assert drawn[6][2] == [0.1 / step for step in range(10, 210, 10)]
  assert cv2.imread(str(tmp_path / "curves.png")).shape[1] == WIDTH * DPI


def test_a_run_without_validation(tmp_path, drawn):
  """The test set has the curve, and no mark of its own."""
  rows = make_rows(evaluated=("test",), final=False)
  curves.draw_curves(rows, tmp_path / "curves.png", "title", "top1", "top-1 accuracy")
  assert [label for label, _, _ in drawn] == ["train", "train", "test", "test", None]
  assert len(drawn[3][1]) == 10


def test_a_run_that_was_never_evaluated(tmp_path, drawn):
  rows = [row for row in make_rows() if row["split"] == "train"]
  curves.draw_curves(rows, tmp_path / "curves.png", "title", "top1", "top-1 accuracy")
  assert [label for label, _, _ in drawn] == ["train", "train", None]


def test_running_mean():
  assert curves.running_mean([1, 2, 6, 4, 2, 0]) == pytest.approx([3, 13 / 4, 3, 14 / 5, 3, 2])
  assert curves.running_mean([7.0]) == [7.0]


@pytest.mark.parametrize("metric", ["top1", "mean_iou"])
def test_several_runs(tmp_path, metric, drawn):
  slow, fast = make_rows(0.5, metric), make_rows(3.0, metric)
  curves.compare_curves([("slow", slow), ("fast", fast)], tmp_path / "new" / "both.png")
  assert [label for label, _, _ in drawn] == [None, "slow", "slow", None, "fast", "fast"]
  assert drawn[1][2] == curves.running_mean(drawn[0][2]) and drawn[1][1] == [step / 20 for step in range(10, 210, 10)]
  assert drawn[5][2][-1] == pytest.approx(100 * (0.99 - np.exp(-6)))
  picture = cv2.imread(str(tmp_path / "new" / "both.png"))
  for colour in SERIES[:2]:
    assert (picture == np.rint(255 * np.array(to_rgb(colour)))[::-1]).all(-1).sum() > 500  # BGR


def test_runs_are_compared_on_a_set_that_all_have(tmp_path, drawn):
  runs = [("a", make_rows()), ("b", make_rows(evaluated=("test",), final=False))]
  curves.compare_curves(runs, tmp_path / "both.png")
  assert (drawn[2][1:], len(drawn[5][1])) == (([10.0], [80.0]), 10)


def test_mistakes(tmp_path):
  one, other = make_rows(), make_rows(metric="mean_iou")
  validated = make_rows(final=False)
  cases = [
    ([("one", one)], "a.png", r"^workdir=one: give the folders of two different runs or more$"),
    ([], "a.png", r"^workdir=none: give the folders of two"),
    ([("one", one), ("none", [])], "a.png", r"^workdir='none' holds no metrics of training and evaluation"),
    ([("one", one), ("two", one)], "a.gif", r"^out='.*a\.gif' must end with \.png$"),
    ([("one", one), ("other", other)], "a.png", r"^workdir=one, other: the runs have no metric in common"),
    (
      [("validated", validated), ("tested", make_rows(evaluated=("test",), final=False))],
      "a.png",
      r"^workdir=validated, tested: the runs have no evaluated set in common",
    ),
  ]
  for runs, out, message in cases:
    with pytest.raises(UserError, match=message) as error:
      curves.compare_curves(runs, tmp_path / out)
    assert "\n" not in str(error.value) and not (tmp_path / out).exists()

"""Runs beside each other in one picture."""

import json
import subprocess
import sys

import cv2
import numpy as np
import pytest

from cnn_zoo.errors import UserError
from cnn_zoo.plots import curves
from tests.helpers import ROOT

SCRIPT = ROOT / "scripts" / "visualize.py"


@pytest.fixture
def make_run(tmp_path):
  """A function that makes the folder of a run whose loss falls at `speed`."""

  def make(name, speed=1.0, metric="top1"):
    rng, rows = np.random.default_rng(0), []
    for step in range(10, 210, 10):
      progress = 1 - np.exp(-speed * step / 100)
      loss = float(2.3 * (1 - progress) * rng.uniform(0.8, 1.2) + 0.01)
      rows.append({"split": "train", "step": step, "epoch": step / 20, "loss": loss, metric: float(progress)})
      if step % 20 == 0:
        rows.append({"split": "test", "step": step, "epoch": step / 20, "loss": loss, metric: float(progress)})
    (tmp_path / name).mkdir()
    (tmp_path / name / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path / name

  return make


def test_running_mean():
  assert curves.running_mean([1, 2, 6, 4, 2, 0]) == pytest.approx([3, 13 / 4, 3, 14 / 5, 3, 2])
  assert curves.running_mean([7.0]) == [7.0]


@pytest.mark.parametrize("metric", ["top1", "mean_iou"])
def test_picture(make_run, tmp_path, metric, monkeypatch):
  """It shows what the runs hold: the numbers that reach the axes, and two colours in the file."""
  from matplotlib.axes import Axes

  drawn, plot = [], Axes.plot

  def noted(axis, x, y, **style):
    drawn.append((style.get("label"), list(x), list(y)))
    return plot(axis, x, y, **style)

  monkeypatch.setattr(Axes, "plot", noted)
  slow, fast = make_run("slow", 0.5, metric), make_run("fast", 3.0, metric)
  curves.compare_curves([slow, fast], tmp_path / "new" / "both.png")
  assert [label for label, _, _ in drawn] == [None, "slow", "slow", None, "fast", "fast"]
  assert drawn[1][2] == curves.running_mean(drawn[0][2]) and drawn[1][1] == [step / 20 for step in range(10, 210, 10)]
  assert drawn[5][2][-1] == pytest.approx(100 * (1 - np.exp(-6)))
  picture = cv2.imread(str(tmp_path / "new" / "both.png"))
  for colour in ((180, 119, 31), (14, 127, 255)):  # BGR of the first two
    assert (picture == colour).all(-1).sum() > 500


def test_mistakes(make_run, tmp_path):
  one, two, other = make_run("one"), make_run("two"), make_run("other", metric="mean_iou")
  (tmp_path / "none").mkdir()
  cases = [
    ([one], "a.png", r"workdir=.*one: give the folders of two different runs or more"),
    ([one, one], "a.png", r"workdir=.*one: give the folders of two different runs or more"),
    ([], "a.png", r"workdir=none: give the folders of two"),
    ([one, tmp_path / "none"], "a.png", r"workdir='.*none' holds no metrics of training and testing"),
    ([one, two], "a.gif", r"out='.*a\.gif' must end with \.png"),
    ([one, other], "a.png", r"workdir=.*one, .*other: the runs have no metric in common"),
  ]
  for workdirs, out, says in cases:
    with pytest.raises(UserError, match=says) as error:
      curves.compare_curves(workdirs, tmp_path / out)
    assert "\n" not in str(error.value) and not (tmp_path / out).exists()


def test_script(make_run, tmp_path):
  """As a person types it."""
  workdirs = [f"--workdir={make_run(name)}" for name in ("a", "b")]
  out = tmp_path / "runs.png"

  def run(*typed):
    return subprocess.run([sys.executable, str(SCRIPT), *typed], capture_output=True, text=True)

  drawn = run("runs", *workdirs, f"--out={out}")
  assert (drawn.returncode, drawn.stdout) == (0, f"{out}\n"), drawn.stderr
  assert out.stat().st_size > 10_000
  missing = run("runs", *workdirs)
  assert (missing.returncode, missing.stderr) == (2, "error: --out is missing; valid: --out=FILE.png\n")

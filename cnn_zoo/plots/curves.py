"""The learning curves of one run, or of several runs in one picture."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from cnn_zoo.errors import UserError
from cnn_zoo.plots.style import BLUE, GREEN, INK, ORANGE, SERIES, hide_frame, new_figure, picture_style, save_picture

Rows = Sequence[Mapping[str, Any]]
"""The lines of a metrics.jsonl: "split" ("train", "val" or "test"), "epoch", "loss", metrics and "learning_rate"."""

_METRICS = {"top1": "top-1 accuracy", "mean_iou": "mean IoU"}  # by which runs are compared, besides the loss
_SMOOTHING = 5  # logged training losses in a running mean
_TEST = {"marker": "D", "ms": 6, "mec": INK, "ls": "none", "zorder": 3}  # of the single value of the test set


def draw_curves(rows: Rows, path: Path, title: str, metric: str, label: str) -> None:
  """Draws loss, a metric and the learning rate of a run over its epochs.

  A run has rows of training and of validation, or, if nothing is held out for validation, of the test set. With
  validation, the value of the test set at the end is a mark of its own.

  Args:
    rows: what the run has logged.
    path: the PNG to write.
    title: of the picture.
    metric: the name of the metric in the rows; a share between 0 and 1.
    label: the name of the metric in the picture.

  Raises:
    UserError: if the picture cannot be written.

  >>> import tempfile
  >>> row = {"epoch": 1, "loss": 0.5, "top1": 0.9, "learning_rate": 0.1}
  >>> rows = [{"split": "train", **row}, {"split": "val", **row}]
  >>> with tempfile.TemporaryDirectory() as folder:
  ...   draw_curves(rows, Path(folder, "curves.png"), "lenet5 on digits", "top1", "top-1 accuracy")
  ...   Path(folder, "curves.png").exists()
  True
  """
  train, evaluation, name, test = _splits(rows)
  with picture_style():
    figure = new_figure(3.2)
    loss, share, rate = figure.subplots(1, 3)
    for label_, points, style in (
      ("train", train, {"color": BLUE, "lw": 1.2}),
      (name, evaluation, {"color": ORANGE, "lw": 1.8, "marker": "o", "ms": 3}),
    ):
      _plot(loss, points, "loss", 1, label=label_, **style)
      _plot(share, points, metric, 100, label=label_, **style)
    _plot(loss, test, "loss", 1, label="test", color=GREEN, **_TEST)
    _plot(share, test, metric, 100, label="test", color=GREEN, **_TEST)
    _plot(rate, train, "learning_rate", 1, color=BLUE)
    results = []
    if evaluation:
      best = max(row[metric] for row in evaluation)
      share.axhline(100 * best, color=ORANGE, lw=0.8, ls=":")
      results.append(f"best on {name} {best:.2%}")
      # The first epochs would squeeze all others into the upper edge.
      later = [100 * row[metric] for row in (*evaluation[len(evaluation) // 4 :], *test)]
      share.set_ylim(max(0, min(later) - 10), 101)
    results += [f"test {row[metric]:.2%}" for row in test]
    loss.set_title("loss\n")
    _logarithmic(loss)
    share.set_title(f"{label}, %\n{', '.join(results)}")
    rate.set_title("learning rate\n")
    loss.legend(frameon=False)
    _finish(loss, share, rate)
    figure.suptitle(title)
    save_picture(figure, path)


def compare_curves(runs: Sequence[tuple[str, Rows]], path: Path) -> None:
  """Draws the training losses and the evaluation metrics of several runs over their epochs.

  The loss is on a logarithmic scale, with a running mean over the logged values. The metric is top-1 accuracy or mean
  IoU, on the validation set if all runs have one and on the test set otherwise.

  Args:
    runs: the name of each run, which is its entry in the legend, and what it has logged.
    path: the PNG to write.

  Raises:
    UserError: for fewer than two runs, a run without rows of training and evaluation, runs that have no metric in
      common, and a picture that cannot be written.

  Example:
    >>> import tempfile
    >>> row = {"epoch": 1, "loss": 0.5, "top1": 0.9}
    >>> rows = [{"split": "train", **row}, {"split": "test", **row}]
    >>> with tempfile.TemporaryDirectory() as folder:
    ...   compare_curves([("plain34", rows), ("resnet34", rows)], Path(folder, "curves.png"))
    ...   Path(folder, "curves.png").exists()
    True
  """
  names = ", ".join(name for name, _ in runs) or "none"
  if len(runs) < 2:
    raise UserError(f"workdir={names}: give the folders of two different runs or more")
  for name, rows in runs:
    splits = {row["split"] for row in rows}
    if "train" not in splits or not splits & {"val", "test"}:
      raise UserError(f"workdir={name!r} holds no metrics of training and evaluation; valid: the folder of a run")
  metric = next((m for m in _METRICS if all(m in row for _, rows in runs for row in rows)), None)
  if metric is None:
    raise UserError(f"workdir={names}: the runs have no metric in common; valid: runs of one task")
  held_out = {split for split in ("val", "test") if all(any(row["split"] == split for row in rows) for _, rows in runs)}
  if not held_out:
    raise UserError(f"workdir={names}: the runs have no evaluated set in common; valid: runs with the same validation")
  evaluated = "val" if "val" in held_out else "test"
  with picture_style():
    figure = new_figure(3.6)
    left, right = figure.subplots(1, 2)
    for number, (name, rows) in enumerate(runs):
      style: dict = {"color": SERIES[number % len(SERIES)], "label": name}
      train, points = ([row for row in rows if row["split"] == split] for split in ("train", evaluated))
      epochs, losses = ([row[field] for row in train] for field in ("epoch", "loss"))
      left.plot(epochs, losses, color=style["color"], lw=0.8, alpha=0.3)
      left.plot(epochs, running_mean(losses), lw=1.8, **style)
      _plot(right, points, metric, 100, marker="o", ms=3, **style)
    left.set_title(f"training loss\n(pale: as logged; running mean of {_SMOOTHING} values)")
    _logarithmic(left)
    where = {"val": "validation", "test": "test"}[evaluated]
    right.set_title(f"{_METRICS[metric]} on the {where} set, %\n")
    for axis in (left, right):
      axis.legend(frameon=False)
    _finish(left, right)
    save_picture(figure, path)


def running_mean(values: Sequence[float]) -> list[float]:
  """The mean of each value and its neighbours: five values in all, fewer at both ends.

  >>> running_mean([1, 2, 6, 4, 2, 0])[:2]
  [3.0, 3.25]
  """
  half = _SMOOTHING // 2
  return [float(np.mean(values[max(0, i - half) : i + half + 1])) for i in range(len(values))]


def _splits(rows):
  """Rows of training; rows of the set that is evaluated during training, and its name; the last row of the test set.

  The last one is an empty list if the test set itself is what is evaluated during training.
  """
  train, val, test = ([row for row in rows if row["split"] == split] for split in ("train", "val", "test"))
  return (train, val, "val", test[-1:]) if val else (train, test, "test", [])


def _plot(axis: Axes, rows: Rows, field: str, scale: float, **style) -> None:
  if rows:
    axis.plot([row["epoch"] for row in rows], [scale * row[field] for row in rows], **style)


def _logarithmic(axis):
  axis.set_yscale("log")
  axis.yaxis.set_major_formatter("{x:g}")  # the default writes powers of ten as formulas, which the style leaves alone


def _finish(*axes):
  for axis in axes:
    axis.set_xlabel("epoch")
    axis.locator_params("x", integer=True)
    axis.grid(alpha=0.3)
    hide_frame(axis)

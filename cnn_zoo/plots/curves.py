"""The learning curves of a run, or of several beside each other, as a picture."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cnn_zoo.errors import UserError

_METRICS = {"top1": "top-1 accuracy", "mean_iou": "mean IoU"}  # what runs are compared by, besides the loss
_SMOOTHING = 5  # logged training losses of which the mean is drawn


def draw_curves(rows: Sequence[dict], picture: Path, title: str, metric: str, label: str) -> None:
  """Draws loss, a metric and learning rate of a metrics.jsonl into a PNG.

  Args:
    metrics: the file.
    picture: the PNG.
    title: above it.
    metric: a share of something, by its name in the file.
    label: what people call it.
  """
  import matplotlib

  matplotlib.use("Agg")
  import matplotlib.pyplot as plt

  split = {name: [row for row in rows if row["split"] == name] for name in ("train", "test")}
  style = {"train": {"color": "#4C72B0", "lw": 1.2}, "test": {"color": "#DD8452", "lw": 2, "marker": "o", "ms": 3}}
  figure, axes = plt.subplots(1, 3, figsize=(13, 3.8), constrained_layout=True)
  for name, points in split.items():
    if points:
      epochs = [row["epoch"] for row in points]
      axes[0].plot(epochs, [row["loss"] for row in points], label=name, **style[name])
      axes[1].plot(epochs, [100 * row[metric] for row in points], label=name, **style[name])
  if split["train"]:
    epochs = [row["epoch"] for row in split["train"]]
    axes[2].plot(epochs, [row["learning_rate"] for row in split["train"]], color="#55A868")
  if split["test"]:
    best = max(split["test"], key=lambda row: row[metric])
    axes[1].axhline(100 * best[metric], color=style["test"]["color"], lw=0.8, ls=":")
    # The first epochs would squeeze everything that comes after into the top edge.
    lowest = min(100 * row[metric] for row in split["test"][len(split["test"]) // 4 :])
    axes[1].set_ylim(max(0, lowest - 10), 101)
  axes[0].set(title="loss", xlabel="epoch", yscale="log")
  title_best = f" (best on test: {best[metric]:.2%})" if split["test"] else ""
  axes[1].set(title=f"{label}, %{title_best}", xlabel="epoch")
  axes[2].set(title="learning rate", xlabel="epoch")
  for axis in axes:
    axis.grid(alpha=0.3)
    axis.spines[["top", "right"]].set_visible(False)
  axes[0].legend(frameon=False)
  axes[1].legend(frameon=False, loc="lower right")
  figure.suptitle(title)
  figure.savefig(picture, dpi=130)
  plt.close(figure)


def compare_curves(runs: dict, picture: Path) -> None:
  """Draws the training losses and the test metrics of several runs over their epochs into a PNG.

  The loss is on a logarithmic scale, a running mean in front of the logged values; the metric is top-1 accuracy or mean
  IoU, whichever the runs have.

  Args:
    workdirs: the folders of two runs or more; their names are the legend.
    picture: the PNG.

  Raises:
    UserError: for less than two runs, a folder without metrics, runs that have no metric in common, and a picture that
      is no PNG.
  """
  if len(runs) < 2:
    raise UserError(f"workdir={', '.join(map(str, runs)) or 'none'}: give the folders of two different runs or more")
  for workdir, rows in runs.items():
    if {"train", "test"} - {row["split"] for row in rows}:
      raise UserError(f"workdir={str(workdir)!r} holds no metrics of training and testing; valid: the folder of a run")
  if picture.suffix != ".png":
    raise UserError(f"out={str(picture)!r} must end with .png")
  shared = [name for name in _METRICS if all(name in row for rows in runs.values() for row in rows)]
  if not shared:
    raise UserError(f"workdir={', '.join(map(str, runs))}: the runs have no metric in common; valid: runs of one task")

  import matplotlib

  matplotlib.use("Agg")
  import matplotlib.pyplot as plt

  metric = shared[0]
  figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.8), constrained_layout=True)
  for number, (workdir, rows) in enumerate(runs.items()):
    train, test = ([row for row in rows if row["split"] == split] for split in ("train", "test"))
    style = {"color": f"C{number}", "label": Path(workdir).resolve().name}
    epochs, losses = ([row[field] for row in train] for field in ("epoch", "loss"))
    left.plot(epochs, losses, color=style["color"], lw=0.8, alpha=0.3)
    left.plot(epochs, running_mean(losses), lw=1.8, **style)
    right.plot([row["epoch"] for row in test], [100 * row[metric] for row in test], marker="o", ms=3, **style)
  title = f"training loss\n(pale: as logged; running mean of {_SMOOTHING} logged values)"
  left.set(title=title, xlabel="epoch", yscale="log")
  right.set(title=f"{_METRICS[metric]} on the test set, %", xlabel="epoch")
  for axis in (left, right):
    axis.grid(alpha=0.3)
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(frameon=False)
  picture.parent.mkdir(parents=True, exist_ok=True)
  figure.savefig(picture, dpi=130)
  plt.close(figure)


def running_mean(values: Sequence[float]) -> list[float]:
  """The mean of each value and its neighbours, `_SMOOTHING` in all and fewer at both ends."""
  half = _SMOOTHING // 2
  return [float(np.mean(values[max(0, i - half) : i + half + 1])) for i in range(len(values))]

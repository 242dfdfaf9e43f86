"""The learning curves of a run as a picture."""

from pathlib import Path

from cnn_zoo.training.logging import read_metrics


def draw_curves(metrics: Path, picture: Path, title: str, metric: str = "top1", label: str = "top-1") -> None:
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

  rows = read_metrics(metrics)
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

"""Trains a run and, when it has ended, draws its curves and sums it up."""

import sys
import time
from pathlib import Path

import jax
from ml_collections import ConfigDict

from cnn_zoo.tasks import get_task
from cnn_zoo.training.folder import RunFolder
from cnn_zoo.training.logging import read_metrics
from cnn_zoo.training.loop import train


def train_run(
  config: ConfigDict, workdir: str | Path, started: float | None = None, *, restart: bool = False
) -> dict[str, float]:
  """As `cnn_zoo.training.loop.train`; a run that has reached its end is drawn, and summed up on stderr and in its log.

  Args:
    config: what configs/base.py describes.
    workdir: the folder of the run.
    started: when the program was started (`time.monotonic`).
    restart: whether to start over; the folder that is there is kept under another name.

  Returns:
    The metrics of the test set; {} if a signal stopped the run before its end.

  Raises:
    UserError, TrainingError: as `train`.
  """
  started = time.monotonic() if started is None else started
  result = train(config, workdir, started, restart=restart)
  if result and jax.process_index() == 0:
    folder, task = RunFolder(workdir), get_task(config.task)
    rows = read_metrics(folder.metrics)
    if rows:
      from cnn_zoo.plots.curves import draw_curves  # takes a second, which training need not wait for

      title = f"{config.model.name} on {config.data.name}"
      draw_curves(rows, folder.curves, title, task.best, task.best_label)
    text = f"\n{_summary(config, folder, task, result, rows, time.monotonic() - started)}\n"
    with folder.log.open("a") as log:
      log.write(text)
    print(text, end="", file=sys.stderr, flush=True)
  return result


def _summary(config, folder, task, result, rows, seconds):
  figures = "  ".join(f"{name} {value:.4f}" for name, value in result.items())
  return "\n".join(
    [
      f"  {config.model.name} on {config.data.name}: {result[task.best]:.2%} {task.best_label} on the test set, "
      f"{seconds:.0f} s",
      f"                {_chosen(config, task, rows)}",
      f"  test set      {figures}",
      f"  curves        {folder.curves}",
      f"  metrics       {folder.metrics}, TensorBoard files in {folder.tensorboard}",
      f"  checkpoints   {folder.checkpoints}",
      f"  next          python eval.py --workdir={folder}",
      f"                python scripts/predict.py --workdir={folder} --test=4",
      "",
    ]
  )


def _chosen(config, task, rows):
  """Which checkpoint the result is of, as far as metrics.jsonl still says: a user may have removed lines of it."""
  tested = [row for row in rows if row["split"] == "test"]
  validated = {row["step"]: row[task.best] for row in rows if row["split"] == "val"}
  if config.data.validation:
    step = tested[-1]["step"]
    share = f" ({validated[step]:.2%})" if step in validated else ""
    return f"with the checkpoint of step {step}, the best on the validation set{share}"
  best = max(tested, key=lambda row: row[task.best], default=None)
  return "at the end" + (f"; the best was {best[task.best]:.2%} at step {best['step']}" if best else "")

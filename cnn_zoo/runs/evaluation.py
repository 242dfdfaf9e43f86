"""Evaluation of a checkpoint by itself."""

import contextlib
import json
from pathlib import Path
from typing import NamedTuple

import jax
from ml_collections import ConfigDict
from rich.console import Console
from rich.table import Table

from cnn_zoo import convolutions, data
from cnn_zoo.errors import UserError
from cnn_zoo.tasks import get_task
from cnn_zoo.training import settings, setup
from cnn_zoo.training.checkpoints import Checkpoints
from cnn_zoo.training.mesh import create_mesh
from cnn_zoo.training.programs import Programs
from cnn_zoo.training.state import tensor_shapes


class SavedRun(NamedTuple):
  """A checkpoint of a run, opened.

  Attributes:
    config: the configuration that is used.
    programs: what it computes.
    weights: {"params", "batch_stats"} of the checkpoint.
    step: of the checkpoint.
    kind: of the weights, "ema" or "raw".
  """

  config: ConfigDict
  programs: Programs
  weights: dict
  step: int
  kind: str


def open_run(
  config: ConfigDict | None, workdir: Path, step: str = "last", weights: str = "ema", *, prepared: bool = True
) -> SavedRun:
  """Opens a checkpoint in `workdir`.

  Args:
    prepared: whether the run's dataset must be there; only evaluating needs it.
    The others, and the errors, are those of `evaluate`.
  """
  saved_path = workdir / "config.json"
  if not saved_path.exists():
    raise UserError(f"workdir={str(workdir)!r} holds no run; valid: the folder of a run, as train.py prints it")
  saved = settings.from_saved(json.loads(saved_path.read_text()))
  config = saved if config is None else config
  settings.check_same_run({"model": saved.to_dict()["model"]}, ConfigDict({"model": config.model}), workdir)
  ours, theirs = (data.dataset_info(c.data, prepared=prepared) for c in (config, saved))
  if (ours.num_classes, ours.channels, ours.task) != (theirs.num_classes, theirs.channels, theirs.task):
    raise UserError(f"config.data.name={config.data.name!r} has other classes or channels than {saved.data.name!r}")
  setup.enable_compilation_cache(config)

  metric = get_task(config.task).best
  checkpoints = Checkpoints(workdir / "checkpoints", keep=config.checkpoint.keep, metric=metric, writable=False)
  with contextlib.closing(checkpoints):
    steps = checkpoints.steps()
    if not steps:
      raise UserError(f"workdir={str(workdir)!r} holds no checkpoint yet")
    named = {"last": steps[-1], "best": checkpoints.best_step()}
    chosen = named[step] if step in named else int(step) if step.isascii() and step.isdecimal() else None
    if step == "best" and chosen is None:
      raise UserError(f"step='best' is not known: no checkpoint was evaluated yet; valid: {', '.join(map(str, steps))}")
    if chosen not in steps:
      raise UserError(f"step={step!r} is not there; valid: last, best, {', '.join(map(str, steps))}")
    programs = Programs(config, create_mesh(), prepared=prepared)
    shapes = {"params": programs.shapes.params, "batch_stats": programs.shapes.batch_stats}
    _check_shapes(shapes, checkpoints.weight_shapes(chosen), config, workdir)
    kind = "ema" if weights == "ema" and checkpoints.has_averages(chosen) else "raw"
    return SavedRun(config, programs, checkpoints.restore_weights(chosen, shapes, kind == "ema"), chosen, kind)


def _check_shapes(own, saved, config, workdir):
  """Raises UserError if the weights are not of the model; imported ones may know other classes than the dataset has."""
  own, saved = tensor_shapes(own), tensor_shapes(saved)
  different = [name for name in {**own, **saved} if own.get(name) != saved.get(name)]
  if different:
    wrong = f"{different[0]}: {saved.get(different[0], 'none')} -> {own.get(different[0], 'none')}"
    raise UserError(
      f"workdir={str(workdir)!r} holds weights that do not fit config.data.name={config.data.name!r} ({wrong}); valid: "
      f"a dataset of as many classes, or training with --config.init={workdir}"
    )


def evaluate(config: ConfigDict | None, workdir: Path, step: str = "last", weights: str = "ema") -> dict:
  """Evaluates a checkpoint on the whole test set and prints a table and one JSON line.

  Args:
    config: None for the one that the run was started with; otherwise it must describe the same model.
    workdir: the run's folder.
    step: a step number, "last" or "best".
    weights: "ema" for the averaged weights if the run has them, "raw" for the others.

  Returns:
    What the JSON line says.

  Raises:
    UserError: if there is no such checkpoint, or it is of another model.
  """
  run = open_run(config, workdir, step, weights)
  with convolutions.lowering(run.config.convolution_lowering):
    dataset = data.open_dataset(run.config.data)
    metrics = run.programs.evaluate(run.weights, dataset)
  result = {"model": run.config.model.name, "dataset": run.config.data.name, "step": run.step, "weights": run.kind}
  result |= {"examples": dataset.num_test, **metrics}
  if jax.process_index() == 0:
    table = Table("model", "dataset", "step", "weights", "examples", *metrics, title=str(workdir))
    table.add_row(*(f"{v:.4f}" if isinstance(v, float) else str(v) for v in result.values()))
    console = Console()
    console.width = max(console.width, 100)  # a log has no width of its own
    console.print(table)
    print(json.dumps(result), flush=True)
  return result

"""Opens a checkpoint of a run."""

import contextlib
import sys
from pathlib import Path
from typing import NamedTuple

import jax
from ml_collections import ConfigDict

from cnn_zoo import data
from cnn_zoo.errors import DamageError, UserError
from cnn_zoo.tasks import get_task
from cnn_zoo.training import settings
from cnn_zoo.training.checkpoints import Checkpoints
from cnn_zoo.training.folder import RunFolder
from cnn_zoo.training.mesh import create_mesh
from cnn_zoo.training.programs import Programs, enable_compilation_cache
from cnn_zoo.training.state import tensor_shapes


class SavedRun(NamedTuple):
  """A checkpoint of a run, opened.

  Attributes:
    folder: the run's folder.
    config: the configuration that is used.
    saved_config: the configuration that the run was last started with.
    programs: what it computes.
    weights: {"params", "batch_stats"} of the checkpoint.
    step: of the checkpoint; 0 of imported weights.
    kind: of the weights, "ema" or "raw".
    imported: whether they are published weights, not those of a run.
  """

  folder: RunFolder
  config: ConfigDict
  saved_config: ConfigDict
  programs: Programs
  weights: dict
  step: int
  kind: str
  imported: bool


def open_run(
  config: ConfigDict | None,
  workdir: str | Path,
  step: str | None = None,
  weights: str = "ema",
  *,
  prepared: bool = True,
) -> SavedRun:
  """Opens a checkpoint in `workdir`.

  Args:
    config: None for the configuration that the run was started with; otherwise it must describe the same model.
    workdir: the run's folder.
    step: a step number, "last" or "best". None is the checkpoint that the run reports: the best one if the run has a
      validation set and one was evaluated on it, otherwise the last one.
    weights: "ema" for the averaged weights if the run has them, "raw" for the others.
    prepared: whether the run's dataset must be prepared; only evaluating needs it.

  Returns:
    The checkpoint's weights and what computes with them.

  Raises:
    UserError: if there is no such checkpoint, or it is of another model.
    DamageError: if the checkpoint that is asked for by number, or every one, is damaged.

  Example:
    >>> run = open_run(None, "runs/lenet5", weights="raw")  # doctest: +SKIP
    >>> run.kind, sorted(run.weights)  # doctest: +SKIP
    ('raw', ['batch_stats', 'params'])
  """
  folder = RunFolder(workdir)
  saved = _saved_config(folder)
  config = saved if config is None else config
  settings.check(config)
  settings.check_same_run({"model": saved.to_dict()["model"]}, ConfigDict({"model": config.model}), folder.path)
  ours, theirs = (data.dataset_info(c.data, prepared=prepared) for c in (config, saved))
  if (ours.num_classes, ours.channels, ours.task) != (theirs.num_classes, theirs.channels, theirs.task):
    raise UserError(f"config.data.name={config.data.name!r} has other classes or channels than {saved.data.name!r}")
  enable_compilation_cache(config)

  metric = get_task(config.task).best
  checkpoints = Checkpoints(folder.checkpoints, keep=config.checkpoint.keep, metric=metric, writable=False)
  with contextlib.closing(checkpoints):
    chosen = _choose_step(step, checkpoints, saved, folder)
    programs = Programs(config, create_mesh(), prepared=prepared)

    def load(step):
      imported = checkpoints.details(step)["imported"] is not None
      _check_shapes(programs.weight_shapes, checkpoints.weight_shapes(step), config, folder)
      kind = "ema" if weights == "ema" and checkpoints.has_averages(step) else "raw"
      return checkpoints.restore_weights(step, programs.weight_shapes, kind == "ema"), kind, imported

    try:
      restored, kind, imported = load(chosen)
    except DamageError as error:
      if step not in (None, "last", "best"):
        raise
      chosen, (restored, kind, imported), _ = checkpoints.newest_whole(load)
      warn(f"{error}; step {chosen} is used, the newest that is whole")
    return SavedRun(folder, config, saved, programs, restored, chosen, kind, imported)


def warn(text: str) -> None:
  """Prints a warning, from the first process only."""
  if jax.process_index() == 0:
    print(f"warning: {text}", file=sys.stderr, flush=True)


def _saved_config(folder):
  """The configuration of the run, which its checkpoints have too if config.json is damaged or missing."""
  try:
    return folder.read_config()
  except (DamageError, UserError) as error:
    if not folder.checkpoints.is_dir():
      raise
    problem = error if folder.config.exists() else f"{folder.config} is missing"
    with contextlib.closing(Checkpoints(folder.checkpoints, keep=1, metric="", writable=False)) as checkpoints:
      if not checkpoints.steps():
        raise
      step, details, _ = checkpoints.newest_whole(checkpoints.details)
  warn(f"{problem}; the configuration of the checkpoint of step {step} is used")
  return settings.from_saved(details["config"])


def _choose_step(step, checkpoints, saved, folder):
  steps, best = checkpoints.steps(), checkpoints.best_step()
  if not steps:
    raise UserError(f"workdir={str(folder)!r} holds no checkpoint yet")
  if step is None:
    step = "best" if saved.data.validation and best is not None else "last"
  if step == "best" and best is None:
    raise UserError(f"step='best' is not known: no checkpoint was evaluated yet; valid: {', '.join(map(str, steps))}")
  named = {"last": steps[-1], "best": best}
  chosen = (
    named[step] if step in named else int(step) if step.isascii() and step.isdecimal() and len(step) < 20 else None
  )
  if chosen not in steps:
    raise UserError(f"step={step!r} is not there; valid: last, best, {', '.join(map(str, steps))}")
  return chosen


def _check_shapes(own, saved, config, folder):
  """Raises UserError if the weights are not of the model; imported ones may have other classes than the dataset."""
  own, saved = tensor_shapes(own), tensor_shapes(saved)
  different = [name for name in {**own, **saved} if own.get(name) != saved.get(name)]
  if different:
    wrong = f"{different[0]}: {saved.get(different[0], 'none')} -> {own.get(different[0], 'none')}"
    raise UserError(
      f"workdir={str(folder)!r} holds weights that do not fit config.data.name={config.data.name!r} ({wrong}); valid: "
      f"a dataset of as many classes, or training with --config.init={folder}"
    )

"""The training loop."""

import contextlib
import dataclasses
import math
import time
from pathlib import Path
from typing import NamedTuple

import jax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from cnn_zoo import data
from cnn_zoo.errors import DamageError
from cnn_zoo.training import settings
from cnn_zoo.training.checkpoints import Checkpoints
from cnn_zoo.training.environment import current_environment
from cnn_zoo.training.folder import RunFolder
from cnn_zoo.training.initialization import load_initial_weights
from cnn_zoo.training.logging import SPLITS, RunLog
from cnn_zoo.training.mesh import check_batch, create_mesh, shard_batch
from cnn_zoo.training.network import count_parameters
from cnn_zoo.training.ownership import owned
from cnn_zoo.training.plan import Plan
from cnn_zoo.training.programs import Programs, enable_compilation_cache, evaluated_weights
from cnn_zoo.training.resume import Start, find_start, make_details
from cnn_zoo.training.signals import StopSignal


class TrainingError(RuntimeError):
  """Training cannot continue; what was saved is intact."""


def train(
  config: ConfigDict, workdir: str | Path, started: float | None = None, *, restart: bool = False
) -> dict[str, float]:
  """Trains, or resumes from the last checkpoint in `workdir`.

  The best checkpoint is chosen on the validation set (logged as "val"); of equally good ones it is the first. The test
  set is evaluated once at the end, with that checkpoint. With config.data.validation=0.0 there is no validation set:
  the test set is evaluated instead, and the last evaluation is the result.

  Args:
    config: what configs/base.py describes.
    workdir: the folder of the run.
    started: when the program was started (`time.monotonic`), for the times that are reported.
    restart: whether to start over although the folder holds a run, which is kept under another name.

  Returns:
    The metrics of the test set; {} if a signal stopped the run before its end.

  Raises:
    UserError: if the configuration cannot be run, or `workdir` holds another run or is in use by another process.
    DamageError: if `workdir` holds checkpoints, of which none is whole.
    TrainingError: if the loss or the state is not finite and config.on_nan is "stop".

  Example:
    >>> import tempfile
    >>> config = settings.default_config("lenet5")
    >>> config.steps, config.batch_size, config.compilation_cache = 1, 8, ""
    >>> with tempfile.TemporaryDirectory() as folder:
    ...   sorted(train(config, Path(folder, "run")))
    ['loss', 'top1', 'top5']
  """
  started = time.monotonic() if started is None else started
  settings.check(config)
  enable_compilation_cache(config)
  mesh = create_mesh()
  check_batch(config.batch_size, config.accumulate, mesh)
  programs = Programs(config, mesh)
  folder, environment = RunFolder(workdir), current_environment()

  with contextlib.ExitStack() as at_end:
    at_end.callback(programs.close)

    def open_folder():
      moved = at_end.enter_context(owned(folder, restart=restart))
      checkpoints = Checkpoints(folder.checkpoints, keep=config.checkpoint.keep, metric=programs.task.best)
      at_end.callback(checkpoints.close)
      return checkpoints, moved

    opened = None if restart else open_folder()
    start, state = find_start(opened[0], config, folder, environment, programs.shapes) if opened else (Start(), None)
    notes = [load_initial_weights(programs, config)] if config.init and not start.step else start.notes

    # XLA compiles in a thread, while data and state are made ready.
    compiling = None if start.finished else programs.compile_train_step()
    dataset = data.open_dataset(config.data)
    plan = Plan(config, dataset.num_train)
    # A run is set aside last, so that it stays in its place if this one is refused.
    checkpoints, moved = opened or open_folder()
    state = programs.initial_state() if state is None else state
    log = _open_log(folder, config, environment, programs.task, start, plan)
    at_end.callback(log.close)
    run = _Run(config, mesh, programs, checkpoints, environment, dataset, plan, log)
    for line in (_description(run), *moved, *notes):
      log.say(line)
    metrics = None
    if compiling is not None:
      log.say("compiling the training step ...")
      step, state, metrics = _take_steps(run, start, state, compiling.result(), started)
      if step < plan.total:
        again = "the same command without --restart" if restart else "the same command"
        log.say(f"stopped by a signal: step {step} of {plan.total} is saved; {again} resumes from there")
        return {}
    return _report(run, state, metrics)


class _Run(NamedTuple):
  """What a run is made of."""

  config: ConfigDict
  mesh: Mesh
  programs: Programs
  checkpoints: Checkpoints
  environment: dict
  dataset: data.Dataset
  plan: Plan
  log: RunLog

  @property
  def chosen_on(self):
    """The split on which the best checkpoint is chosen."""
    return "val" if self.dataset.num_validation else "test"


def _take_steps(run, start, state, train_step, started):
  """Trains until the end or a signal; returns the last step, the state and the metrics of the last evaluation."""
  config, plan, programs, log = run.config, run.plan, run.programs, run.log
  best, metrics = start.best, None
  with StopSignal() as stop, _open_batches(run, start) as batches, contextlib.ExitStack() as at_end:
    at_end.callback(run.checkpoints.wait)  # before another signal can kill the process
    for step in range(start.step + 1, plan.total + 1):
      state = train_step(state, shard_batch(next(batches), run.mesh), plan.rate(step))
      if step == start.step + 1:
        jax.block_until_ready(state)
        log.say(f"first step finished {time.monotonic() - started:.1f} s after the start")
        log.start_clock()

      stops = stop.requested  # a signal from here on waits for the next step
      due, epoch = plan.due(step, stops), plan.epoch(step)
      if due.any:
        sums = jax.device_get(state.metrics)
        if config.on_nan == "stop" and not math.isfinite(sums["loss"]):
          raise _not_finite("loss", step, run.checkpoints)
      if due.log:
        log.metrics("train", step, epoch, _training_metrics(programs.task, sums, plan.rate(step)))
        state = dataclasses.replace(state, metrics=programs.no_metrics())
      improved = False
      if due.evaluate:
        with log.off_the_clock():
          metrics = programs.evaluate(evaluated_weights(state), run.dataset, SPLITS[run.chosen_on])
        log.metrics(run.chosen_on, step, epoch, metrics)
        improved = metrics[programs.task.best] > best
        best = max(best, metrics[programs.task.best])
      if due.save or improved:
        if config.on_nan == "stop" and not programs.is_finite(state):
          raise _not_finite("state", step, run.checkpoints)
        details = make_details(
          config, batches.get_state(), plan.total, run.dataset.num_train, best, run.environment, log.written()
        )
        # Without the metrics of equally good ones, the best is the first, whichever steps are saved for other reasons.
        run.checkpoints.save(step, state, details, metrics if improved else None)
      log.advance(step)
      if stops:
        break
  return step, state, metrics


def _report(run, state, metrics):
  """The metrics of the test set, once, with the checkpoint that was chosen on the validation set.

  Without a validation set they are the last evaluation's, `metrics`; None if no step was taken.
  """
  if run.chosen_on == "test" and metrics is not None:
    return metrics
  step, weights = run.plan.total, evaluated_weights(state)
  if run.chosen_on == "val":
    best = run.checkpoints.best_step()
    if best is None:
      run.log.say(f"warning: the best checkpoint on the validation set is gone; that of step {step} is tested")
    elif best != step:
      try:
        step, weights = best, run.checkpoints.restore_weights(best, run.programs.weight_shapes)
      except DamageError as error:
        run.log.say(f"warning: {error}, although it is the best on the validation set; that of step {step} is tested")
  result = run.programs.evaluate(weights, run.dataset, "test")
  if run.chosen_on == "val" and not run.log.has("test"):
    run.log.metrics("test", step, run.plan.epoch(step), result)
  return result


def _open_log(folder, config, environment, task, start, plan):
  leader = jax.process_index() == 0
  if leader and not start.finished:
    folder.write_config(config)
    folder.write_environment(environment)
  headline = (task.best, task.best_label)
  return RunLog(folder, start.step, plan.total, config.batch_size, headline, leader, start.written)


def _open_batches(run, start):
  batches = data.train_batches(
    run.dataset,
    run.config.data,
    seed=run.config.seed,
    batch_size=run.config.batch_size,
    process_index=jax.process_index(),
    process_count=jax.process_count(),
  )
  if start.step:
    batches.set_state(start.iterator)
  return contextlib.closing(batches)


def _description(run):
  config, dataset = run.config, run.dataset
  sizes = {"to train on": dataset.num_train, "to validate": dataset.num_validation, "to test": dataset.num_test}
  examples = ", ".join(f"{size:,} examples {use}" for use, size in sizes.items() if size)
  return (
    f"{config.model.name} ({count_parameters(run.programs.network):,} parameters) on {config.data.name} "
    f"({examples}); {run.plan.total} steps of {config.batch_size}; "
    f"{run.mesh.size} x {run.mesh.devices.flat[0].device_kind}, {run.programs.dtype.__name__}"
  )


def _training_metrics(task, sums, learning_rate):
  """What is logged of training, from the sums since the last time."""
  means = {"learning_rate": float(learning_rate), "grad_norm": float(sums["grad_norm"] / sums["steps"])}
  return task.metrics(sums) | means


def _not_finite(what, step, checkpoints):
  """The error that ends the run."""
  checkpoints.wait()
  saved = max(checkpoints.steps(), default=0)
  before = f"the last checkpoint, of step {saved}, is from before" if saved else "nothing was saved before"
  return TrainingError(f"the {what} is not finite at step {step} (config.on_nan='stop' ends the run); {before}")

"""The training loop."""

import contextlib
import dataclasses
import json
import math
import signal
import time
from pathlib import Path

import jax
import numpy as np
from ml_collections import ConfigDict

from cnn_zoo import convolutions, data
from cnn_zoo.errors import UserError
from cnn_zoo.plots.curves import draw_curves
from cnn_zoo.training import setup
from cnn_zoo.training.checkpoints import Checkpoints
from cnn_zoo.training.initialization import load_initial_weights
from cnn_zoo.training.logging import RunLog, read_metrics
from cnn_zoo.training.mesh import check_batch, create_mesh, shard_batch
from cnn_zoo.training.programs import Programs, evaluated_weights
from cnn_zoo.training.schedules import create_schedule


class TrainingError(RuntimeError):
  """Training cannot go on; what was saved is intact."""


def train(config: ConfigDict, workdir: Path, started: float | None = None) -> dict[str, float]:
  """Trains, or goes on from the last checkpoint in `workdir`.

  Args:
    config: what configs/base.py describes.
    workdir: where the run is kept.
    started: when the program was started (`time.monotonic`), for the times that are reported.

  Returns:
    The metrics of the last evaluation; empty if there was none before a signal stopped the run.

  Raises:
    UserError: if the configuration cannot be run, or `workdir` holds another run.
    TrainingError: if the loss is not finite and config.on_nan is "stop".
  """
  with convolutions.lowering(config.convolution_lowering):
    return _train(config, workdir, time.monotonic() if started is None else started)


def _train(config, workdir, started):
  setup.enable_compilation_cache(config)
  setup.check_settings(config)
  mesh = create_mesh()
  check_batch(config.batch_size, config.accumulate, mesh)
  programs = Programs(config, mesh)
  task, leader = programs.task, jax.process_index() == 0

  setup.open_workdir(workdir)
  checkpoints = Checkpoints(workdir / "checkpoints", keep=config.checkpoint.keep, metric=task.best)
  start = max(checkpoints.steps(), default=0)
  if 0 in checkpoints.steps():
    raise UserError(
      f"workdir={str(workdir)!r} holds imported weights, not a run; give another and --config.init={workdir}"
    )
  details = checkpoints.details(start) if start else {}
  if start:
    setup.check_same_run(details["config"], config, workdir)
  loaded = load_initial_weights(programs, config) if config.init and not start else ""
  finished = start and start == details["total_steps"]

  # XLA compiles without Python, so data and state are made ready beside it.
  compiling = None if finished else programs.compile_train_step()
  dataset = data.open_dataset(config.data)
  steps_per_epoch = dataset.num_train / config.batch_size
  total = config.steps if config.steps is not None else math.ceil(config.epochs * steps_per_epoch)
  eval_every = config.eval.every_epochs * steps_per_epoch  # a fraction: epochs need not end with a batch
  schedule = create_schedule(config.schedule, config.optimizer.learning_rate, total, steps_per_epoch)
  rates = np.asarray(jax.vmap(schedule)(np.arange(total)))  # on the host, so that no step waits for its own
  state = checkpoints.restore(start, programs.shapes) if start else programs.initial_state()
  processes = {"process_index": jax.process_index(), "process_count": jax.process_count()}
  batches = data.train_batches(dataset, config.data, seed=config.seed, batch_size=config.batch_size, **processes)
  if start:
    batches.set_state(details["iterator"])

  log = RunLog(workdir, start, total, config.batch_size, (task.best, task.best_label), leader)
  if leader:
    (workdir / "config.tmp").write_text(json.dumps(config.to_dict(), indent=2) + "\n")
    (workdir / "config.tmp").replace(workdir / "config.json")
  log.say(
    f"{config.model.name} ({setup.count_parameters(programs.network):,} parameters) on {config.data.name} "
    f"({dataset.num_train:,} examples to train on, {dataset.num_test:,} to test on); {total} steps of "
    f"{config.batch_size}; {mesh.size} x {jax.devices()[0].device_kind}, {programs.dtype.__name__}"
  )
  if loaded:
    log.say(loaded)
  result = {}
  if finished:
    log.say(f"this run is finished: step {start} of {total} is in {workdir / 'checkpoints'}; evaluating it")
    result = programs.evaluate(evaluated_weights(state), dataset)
  else:
    if start:
      log.say(f"resuming from step {start} of {total}, found in {workdir / 'checkpoints'}")
    log.say("compiling the training step ...")
    train_step = compiling.result()

  best = details["best"] if start else -1  # not of metrics.jsonl: all processes must save at the same steps
  complete = finished
  # Whatever ends the loop, a checkpoint that is being written gets finished.
  with (
    _StopSignal() as stop,
    contextlib.closing(checkpoints),
    contextlib.closing(batches),
    contextlib.ExitStack() as at_end,
  ):
    at_end.callback(log.stop_clock)
    for step in range(start + 1, total + 1):
      state = train_step(state, shard_batch(next(batches), mesh), rates[step - 1])
      if step == start + 1:
        jax.block_until_ready(state)
        log.say(f"first step finished {time.monotonic() - started:.1f} s after the start")
        log.start_clock()

      last, stops = step == total, stop.requested  # a signal from here on waits for the next step
      writes = last or step % config.log_every_steps == 0
      evaluates = last or step // eval_every > (step - 1) // eval_every
      saves = last or step % config.checkpoint.every_steps == 0 or stops
      if writes or evaluates or saves:
        sums = jax.device_get(state.metrics)
        if not math.isfinite(sums["loss"]) and config.on_nan == "stop":
          raise _not_finite("loss", step, checkpoints, log)
      if writes:
        values = task.metrics(sums)
        values |= {"learning_rate": float(rates[step - 1]), "grad_norm": float(sums["grad_norm"] / sums["steps"])}
        log.metrics("train", step, step / steps_per_epoch, values)
        state = dataclasses.replace(state, metrics=programs.no_metrics())
      if evaluates:
        with log.off_the_clock():
          result = programs.evaluate(evaluated_weights(state), dataset)
        log.metrics("test", step, step / steps_per_epoch, result)
        saves = saves or result[task.best] > best
        best = max(best, result[task.best])
      if saves:
        if config.on_nan == "stop" and not _is_finite(state):  # an update can overflow after a finite loss
          raise _not_finite("state", step, checkpoints, log)
        details = {"config": config.to_dict(), "iterator": batches.get_state(), "total_steps": total}
        details["best"] = best
        checkpoints.save(step, state, details, result if evaluates else None)
      log.advance(step)
      complete = last
      if stops and not last:
        log.say(f"stopped by a signal: step {step} of {total} is saved, the same command goes on from there")
        break

  if complete and leader:
    title = f"{config.model.name} on {config.data.name}"
    draw_curves(read_metrics(workdir / "metrics.jsonl"), workdir / "curves.png", title, task.best, task.best_label)
    log.say(_summary(config, workdir, task, result, best, time.monotonic() - started))
  log.close()
  return result


def _is_finite(state):
  return all(np.isfinite(x).all() for x in jax.tree.leaves(jax.device_get(state)))


def _not_finite(what, step, checkpoints, log):
  """Ends the run; returns the error that says so."""
  checkpoints.close()
  log.close()
  saved = max(checkpoints.steps(), default=0)
  before = f"the last checkpoint, of step {saved}, is from before" if saved else "nothing was saved before"
  return TrainingError(f"the {what} is not finite at step {step} (config.on_nan='stop' ends the run); {before}")


class _StopSignal:
  """While open, SIGTERM and Ctrl-C only set `requested`, so that the loop can save first; a second Ctrl-C interrupts.

  With several processes signals keep their usual effect: they do not arrive everywhere at the same step.
  """

  def __enter__(self):
    self.requested = False
    self._previous = {}
    if jax.process_count() == 1:
      self._previous = {s: signal.signal(s, self._request) for s in (signal.SIGTERM, signal.SIGINT)}
    return self

  def _request(self, *_):
    if self.requested:
      raise KeyboardInterrupt
    self.requested = True

  def __exit__(self, *_):
    for number, handler in self._previous.items():
      signal.signal(number, handler)


def _summary(config, workdir, task, result, best, seconds):
  figures = "  ".join(f"{name} {value:.4f}" for name, value in result.items())
  return "\n".join(
    [
      "",
      f"  {config.model.name} on {config.data.name}: {result[task.best]:.2%} {task.best_label} (best {best:.2%}), "
      f"{seconds:.0f} s",
      f"  test set      {figures}",
      f"  curves        {workdir / 'curves.png'}",
      f"  metrics       {workdir / 'metrics.jsonl'}, TensorBoard files in {workdir / 'tensorboard'}",
      f"  checkpoints   {workdir / 'checkpoints'}",
      f"  next          python eval.py --workdir={workdir}",
      f"                python scripts/predict.py --workdir={workdir} --test=4",
      "",
    ]
  )

"""Checkpoints of a run, written by Orbax while training continues.

A checkpoint holds the state, where the data iterator stands, and the configuration. It appears under its final name
only when it is whole, so a run killed at any moment finds its last complete one. It also holds a digest of each array,
which is compared whenever the array is read: what a disk has damaged since is noticed.
"""

import contextlib
import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import jax
import numpy as np
from jax.experimental import multihost_utils

from cnn_zoo.errors import DamageError, UserError
from cnn_zoo.training.digests import Digests, digest, named

try:
  from orbax.checkpoint import v1 as ocp
except ImportError:  # the same interface, before it left `experimental`
  import orbax.checkpoint.experimental.v1 as ocp


class Checkpoints:
  """The checkpoints in a folder: the last `keep` of them and the best by `metric`.

  Args:
    directory: the folder.
    keep: how many of the last checkpoints are kept.
    metric: the metric that decides which checkpoint is the best; higher is better.
    writable: whether this process writes; a writer removes what a killed one has left half written.

  Raises:
    DamageError: if the metrics of a checkpoint are damaged: without them the best one is not known.

  Example:
    >>> import tempfile, jax.numpy as jnp
    >>> with tempfile.TemporaryDirectory() as folder:
    ...   checkpoints = Checkpoints(Path(folder, "checkpoints"), keep=1, metric="top1")
    ...   checkpoints.save(1, {"x": jnp.ones(2)}, {"note": "first"}, {"top1": 0.5})
    ...   checkpoints.wait()
    ...   print(checkpoints.steps(), checkpoints.best_step(), checkpoints.details(1))
    ...   checkpoints.close()
    [1] 1 {'note': 'first'}
  """

  def __init__(self, directory: Path, *, keep: int, metric: str, writable: bool = True):
    policies: Any = ocp.training.preservation_policies
    decisions: Any = ocp.training.save_decision_policies
    best = policies.BestN(get_metric_fn=lambda m: m.get(metric, -math.inf), n=1, keep_checkpoints_without_metrics=False)
    _check_metrics(directory)
    self._metric = metric
    self._shapes = {}  # of states, by step
    self._saving: Any = None  # the answer to the last save
    self._orbax = ocp.training.Checkpointer(
      str(directory.absolute()),  # Orbax takes no other
      save_decision_policy=decisions.FixedIntervalPolicy(1),  # the loop decides
      preservation_policy=policies.AnyPreservationPolicy([policies.LatestN(keep), best]),
      cleanup_tmp_directories=writable,
    )

  def steps(self) -> list[int]:
    """The steps that can be restored, ascending."""
    return [checkpoint.step for checkpoint in self._orbax.checkpoints]

  def best_step(self) -> int | None:
    """The step with the highest metric, of several the last, as Orbax keeps; None if none was saved with metrics."""
    metrics = [(cast(dict, c.metrics or {}).get(self._metric), c.step) for c in self._orbax.checkpoints]
    evaluated = [(value, step) for value, step in metrics if value is not None]
    return max(evaluated)[1] if evaluated else None

  def save(self, step: int, state: Any, details: dict, metrics: dict[str, float] | None) -> None:
    """Starts to write a checkpoint; returns as soon as `state` may be donated.

    Args:
      step: its name.
      state: a pytree of arrays.
      details: JSON: the data iterator's state and the configuration.
      metrics: of the evaluation at this very step, if it was better than all before; otherwise None.
    """
    self._await_save()
    digests = Digests({**named(state), "details": details, "metrics": metrics})
    self._saving = self._orbax.save_checkpointables_async(
      step, {"state": state, "details": details, "digests": digests}, metrics=cast(dict | None, metrics)
    )

  def _await_save(self):
    """Waits for the last save. Its answer holds a thread and three file descriptors until it is asked for."""
    saving, self._saving = self._saving, None
    if saving is not None:
      saving.result()

  def details(self, step: int) -> dict:
    """What `save` was given as `details`.

    Raises:
      DamageError: if they, or the metrics, are not what was saved.
    """
    details = self._load(step, "details", None)
    (metrics,) = [checkpoint.metrics or None for checkpoint in self._orbax.checkpoints if checkpoint.step == step]
    self._verify(step, {"details": details, "metrics": metrics})
    return details

  def restore(self, step: int, abstract_state: Any) -> Any:
    """The state at `step`, with the shapes, dtypes and shardings of `abstract_state` (`Programs.shapes`).

    Raises:
      UserError: if there is no such step.
      DamageError: if it is not what was saved.
    """
    if step not in self.steps():
      known = ", ".join(map(str, self.steps())) or "none"
      raise UserError(f"step={step} is not among the checkpoints of {self._orbax.directory}; valid: {known}")
    state = self._load(step, "state", abstract_state)
    self._verify(step, named(state), all_arrays=True)
    return state

  def check(self, step: int) -> None:
    """Reads all of a checkpoint.

    Raises:
      DamageError: if it is not what was saved.
    """
    self.details(step)
    device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    self.restore(
      step, jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=device), self._saved(step))
    )

  def newest_whole(self, load: Callable[[int], Any]) -> tuple[int, Any, list[str]]:
    """Calls `load` with each step, from the last one on, until one is not damaged.

    Returns:
      That step, what `load` returned, and what is wrong with each later step.

    Raises:
      DamageError: if none is whole.
    """
    damage = []
    for step in reversed(self.steps()):
      try:
        loaded, problem = load(step), ""
      except DamageError as error:
        loaded, problem = None, str(error)
      if _no_process_has(problem):
        return step, loaded, damage
      damage.append(problem or f"step {step} is damaged: another process cannot read it")
    raise DamageError(f"no checkpoint in {self._orbax.directory} is whole: {'; '.join(damage)}")

  def set_aside(self, after: int, folder: Path) -> None:
    """Moves the checkpoints after step `after` into `folder`, where nothing is overwritten."""
    if jax.process_index() == 0:
      folder.mkdir(exist_ok=True)
      for step in (step for step in self.steps() if step > after):
        names = (folder / name for name in (str(step), *(f"{step}.{number}" for number in range(1, 1 << 20))))
        Path(self._orbax.directory, str(step)).rename(next(name for name in names if not name.exists()))
    multihost_utils.sync_global_devices("Checkpoints.set_aside: moved")
    self._orbax.reload()

  def has_averages(self, step: int) -> bool:
    """Whether the state at `step` holds averaged weights."""
    return bool(self._saved(step).get("ema"))

  def weight_shapes(self, step: int, averaged: bool = True) -> dict:
    """What `restore_weights` would read, as nested dicts of things that have a shape."""
    saved = self._saved(step)
    saved = saved["ema"] if averaged and saved.get("ema") else saved
    return {"params": saved["params"], "batch_stats": saved["batch_stats"]}

  def restore_weights(self, step: int, abstract_weights: dict, averaged: bool = True) -> dict:
    """{"params", "batch_stats"} at `step`, the averaged ones if there are any and `averaged`; nothing else is read.

    Args:
      step: one of `steps()`.
      abstract_weights: their shapes, dtypes and shardings; `ocp.PLACEHOLDER` for what is not wanted.
      averaged: False for the raw ones in any case.

    Raises:
      DamageError: if they are not what was saved.
    """
    nothing = jax.tree.map(lambda _: ocp.PLACEHOLDER, self._saved(step))
    averaged = averaged and self.has_averages(step)
    wanted = {"ema": abstract_weights} if averaged else abstract_weights
    state = self._load(step, "state", {**nothing, **wanted})
    read = named({name: state[name] for name in wanted})
    self._verify(step, {name: x for name, x in read.items() if x is not ocp.PLACEHOLDER})
    state = state["ema"] if averaged else state
    return {"params": state["params"], "batch_stats": state["batch_stats"]}

  def _saved(self, step):
    """The state at `step`, with shapes instead of arrays."""
    if step not in self._shapes:
      with _damage(step):
        self._shapes[step] = ocp.metadata(f"{self._orbax.directory}/{step}", "state").metadata
    return self._shapes[step]

  def _load(self, step, item, abstract):
    with _damage(step):
      return self._orbax.load_checkpointables(step, {item: abstract})[item]

  def _verify(self, step, values, *, all_arrays=False):
    """Raises DamageError if values, by name, or what `all_arrays` are, differ from what was saved."""
    saved = self._load(step, "digests", Digests()).digests
    wrong = [name for name, value in values.items() if saved.get(name) != digest(value)]
    if all_arrays:
      wrong += sorted(saved.keys() - values.keys() - {"details", "metrics"})
    if wrong:
      more = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
      raise DamageError(f"step {step} is damaged: {wrong[0]}{more} is not what was saved")

  def wait(self) -> None:
    """Waits until everything is written."""
    self._await_save()
    self._orbax.wait()

  def close(self) -> None:
    """Waits until everything is written; nothing can be saved afterwards."""
    try:
      self._await_save()
    finally:
      self._orbax.close()


def _check_metrics(directory):
  for file in sorted(directory.glob("*/metrics/metrics")):
    if not file.parents[1].name.isdecimal():
      continue  # it is being written
    try:
      known = isinstance(json.loads(file.read_bytes()), dict)
    except FileNotFoundError:
      continue  # it was removed just now, by the run that is going on
    except ValueError:
      known = False
    if not known:
      raise DamageError(f"{file} is damaged; move {file.parents[1]} away to use the other checkpoints")


@contextlib.contextmanager
def _damage(step: int) -> Iterator[None]:
  """A context in which what Orbax raises becomes a DamageError; a damaged file can make it raise anything."""
  try:
    yield
  except Exception as error:
    if isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error):
      raise
    says = next(iter(str(error).splitlines()), "")[:200]
    raise DamageError(f"step {step} is damaged: {type(error).__name__}: {says}") from None


def _no_process_has(problem: str) -> bool:
  if jax.process_count() == 1:
    return not problem
  return not multihost_utils.process_allgather(np.array(bool(problem))).any()

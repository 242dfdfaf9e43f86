"""Checks that what a run saved is what can be read."""

import contextlib
from pathlib import Path

from cnn_zoo.errors import DamageError, UserError
from cnn_zoo.training.checkpoints import Checkpoints
from cnn_zoo.training.folder import RunFolder
from cnn_zoo.training.logging import holds


def verify(workdir: str | Path) -> bool:
  """Reads the checkpoints, config.json and metrics.jsonl of a run, compares them, and prints a line about each.

  Args:
    workdir: the run's folder, or that of imported weights.

  Returns:
    Whether nothing is damaged.

  Raises:
    UserError: if the folder holds no checkpoint.
  """
  folder = RunFolder(workdir)
  if not folder.checkpoints.is_dir():
    raise UserError(f"workdir={str(folder)!r} holds no checkpoints; valid: the folder of a run")
  damage, details = [], {}
  with contextlib.closing(Checkpoints(folder.checkpoints, keep=1, metric="", writable=False)) as checkpoints:
    if not checkpoints.steps():
      raise UserError(f"workdir={str(folder)!r} holds no checkpoint yet")
    for step in checkpoints.steps():
      try:
        checkpoints.check(step)
        details = checkpoints.details(step)
        print(f"step {step} is whole", flush=True)
      except DamageError as error:
        damage.append(str(error))
  try:
    folder.read_config()
  except (DamageError, UserError):
    damage.append(f"{folder.config} is damaged or missing; the checkpoints have the configuration too")
  if details.get("written") and not holds(folder.metrics, details["written"]):
    damage.append(f"{folder.metrics} does not hold what was written to it")
  for line in damage:
    print(line, flush=True)
  return not damage

"""Checks that all checkpoints of a run are what was saved."""

import contextlib
from pathlib import Path

from cnn_zoo.errors import DamageError, UserError
from cnn_zoo.training.checkpoints import Checkpoints
from cnn_zoo.training.folder import RunFolder


def verify(workdir: str | Path) -> bool:
  """Reads every checkpoint in the folder of a run, compares it with its digests and prints a line about it.

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
  whole = True
  with contextlib.closing(Checkpoints(folder.checkpoints, keep=1, metric="", writable=False)) as checkpoints:
    if not checkpoints.steps():
      raise UserError(f"workdir={str(folder)!r} holds no checkpoint yet")
    for step in checkpoints.steps():
      try:
        checkpoints.check(step)
        print(f"step {step} is whole", flush=True)
      except DamageError as error:
        whole = False
        print(error, flush=True)
  return whole

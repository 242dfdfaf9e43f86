"""The folder of a run: the one place that knows the names of its files."""

import json
import os
from pathlib import Path

import jax
from jax.experimental import multihost_utils
from ml_collections import ConfigDict

from cnn_zoo.errors import DamageError, UserError
from cnn_zoo.training import settings

SPECIAL = "[]*?\\"  # Orbax looks for files by patterns, in which these have a meaning of their own
LONGEST_PATH, LONGEST_NAME = 3500, 240  # bytes, which leave room for the names of the files and of old folders


class RunFolder:
  """The files of one run.

  Args:
    path: the folder; it need not exist.
    field: what gave the path, for messages.

  Raises:
    UserError: no run can be kept under this path.

  Attributes:
    path: the folder.
    checkpoints: the folder of `cnn_zoo.training.checkpoints.Checkpoints`.
    config: the configuration that the run was last trained with, JSON.
    environment: the code and the packages that the run was last trained with, JSON.
    damaged: the folder of checkpoints that cannot be read as they were written.
    owner: the process that trains or trained last in the folder, JSON, locked while it does.
    metrics: a JSON object for each logged step and evaluation; nothing in it depends on the clock.
    log: what the run printed, with times.
    tensorboard: the folder of TensorBoard's event files.
    curves: the learning curves, a PNG; drawn when the run ends.
    predictions: the folder of the pictures of `scripts/predict.py`.

  Example:
    >>> RunFolder("runs/digits").metrics.as_posix()
    'runs/digits/metrics.jsonl'
  """

  def __init__(self, path: str | Path, field: str = "workdir"):
    _check_path(path, field)
    self.path = Path(path)
    self.checkpoints = self.path / "checkpoints"
    self.damaged = self.path / "damaged"
    self.config = self.path / "config.json"
    self.environment = self.path / "environment.json"
    self.owner = self.path / "owner.json"
    self.metrics = self.path / "metrics.jsonl"
    self.log = self.path / "train.log"
    self.tensorboard = self.path / "tensorboard"
    self.curves = self.path / "curves.png"
    self.predictions = self.path / "predictions"

  def __str__(self) -> str:
    return str(self.path)

  def prepare(self) -> None:
    """Creates the folder.

    Raises:
      UserError: if it cannot be created or written.
    """
    try:
      self.path.mkdir(parents=True, exist_ok=True)
      probe = self.path / f".write_test_{jax.process_index()}"
      probe.touch()
      probe.unlink()
    except OSError as error:
      raise UserError(f"workdir={str(self)!r} cannot be written: {error.strerror}; give another --workdir") from None

  def set_aside(self) -> Path | None:
    """Renames the folder to the first free one of NAME.old1, NAME.old2, ..., so that a new run can take its name.

    In a job of several processes all must call it; the first one renames.

    Returns:
      The new name; None if the folder holds no run, and is left as it is.

    Raises:
      UserError: if it cannot be renamed.
    """
    held = self.config.exists() or self.checkpoints.exists()
    multihost_utils.sync_global_devices("set_aside: all processes have looked")
    if not held:
      return None
    if Path.cwd().is_relative_to(self.path.resolve()):
      raise UserError(f"workdir={str(self)!r} holds the current folder and cannot be renamed; give another --workdir")
    paths = (self.path.parent / f"{self.path.name}.old{number}" for number in range(1, 1 << 20))
    try:
      other = next(path for path in paths if not path.exists())
      multihost_utils.sync_global_devices("set_aside: all processes have chosen")
      if jax.process_index() == 0:
        self.path.rename(other)
    except OSError as error:
      raise UserError(f"workdir={str(self)!r} cannot be renamed: {error.strerror}; give another --workdir") from None
    multihost_utils.sync_global_devices("set_aside: renamed")
    return other

  def read_config(self) -> ConfigDict:
    """The configuration that the run was last trained with.

    Raises:
      UserError: if the folder holds no run.
      DamageError: if the file cannot be read, or is not a configuration.
    """
    if not self.config.exists():
      raise UserError(f"workdir={str(self)!r} holds no run; valid: the folder of a run, as train.py prints it")
    try:
      config = settings.from_saved(json.loads(self.config.read_text()))
      settings.check(config)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
      says = next(iter(str(error).splitlines()), "")[:200]
      raise DamageError(f"{self.config} is damaged: {type(error).__name__}: {says}") from None
    return config

  def write_config(self, config: ConfigDict) -> None:
    """Replaces config.json; a process that is killed leaves the old file or the new one."""
    _write_json(self.config, config.to_dict())

  def write_environment(self, environment: dict) -> None:
    """Replaces environment.json (`cnn_zoo.training.environment.current_environment`)."""
    _write_json(self.environment, environment)


def _write_json(path, value):
  temporary = path.with_suffix(".tmp")
  temporary.write_text(json.dumps(value, indent=2) + "\n")
  temporary.replace(path)


def _check_path(path, field):
  """Raises UserError if checkpoints could not be found again under the absolute path, or if it is too long."""
  text = str(path)
  shown = f"{field}={text if len(text) <= 200 else text[:200] + '...'!r}"
  try:
    whole = os.path.abspath(path)
  except OSError as error:
    raise UserError(f"{shown}: the current folder cannot be found: {error.strerror}") from None
  found = [character for character in SPECIAL if character in whole]
  if found:
    valid = f"a path without {' '.join(SPECIAL)}"
    raise UserError(f"{shown} has {' '.join(found)} in its absolute path, where no checkpoint is found; valid: {valid}")
  if not whole.isprintable():
    raise UserError(f"{shown} has a character in its absolute path that cannot be printed; valid: printable ones")
  if len(os.fsencode(whole)) > LONGEST_PATH or any(len(os.fsencode(name)) > LONGEST_NAME for name in whole.split("/")):
    raise UserError(f"{shown} is too long; valid: at most {LONGEST_NAME} bytes a name and {LONGEST_PATH} in all")

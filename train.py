"""Trains a model: python train.py --config=configs/NAME.py[:DATASET] [--workdir=DIR] [--config.field=value ...].

The same command again resumes from the last checkpoint; --restart starts over and keeps the old folder.
"""

import gc
import time

_STARTED = time.monotonic()
gc.set_threshold(100_000, 50, 50)  # collecting while modules load and models are traced costs a second

import sys
from pathlib import Path

from absl import flags

from cnn_zoo import command_line
from cnn_zoo.errors import UserError

_CONFIG = command_line.define_config("configs/NAME.py, or configs/NAME.py:DATASET")
_WORKDIR = flags.DEFINE_string(
  "workdir", None, "where the run is kept; default: runs/NAME-DATASET and what is overridden"
)
_RESTART = flags.DEFINE_bool("restart", False, "start over; the run that is there is kept under another name")


def main():
  """Trains what --config describes."""
  if _CONFIG.value is None:
    raise UserError("--config is missing; valid: --config=configs/NAME.py, for instance configs/lenet5.py")
  from cnn_zoo.data import CorruptRecordError
  from cnn_zoo.runs.training import train_run
  from cnn_zoo.training.loop import TrainingError
  from cnn_zoo.training.mesh import initialize_processes

  initialize_processes()
  workdir = Path(_WORKDIR.value or _CONFIG.default_workdir())
  command_line.print_config(_CONFIG.value)
  try:
    train_run(_CONFIG.value, workdir, _STARTED, restart=_RESTART.value)
  except TrainingError as error:
    sys.exit(f"error: {error}")
  except (CorruptRecordError, OSError) as error:
    again = "the same command without --restart" if _RESTART.value else "the same command"
    sys.exit(f"error: {error}; what was saved is intact; {again} resumes from there")


if __name__ == "__main__":
  command_line.run(main)

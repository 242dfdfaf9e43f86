"""Evaluates a run: python eval.py --workdir=DIR [--config=configs/NAME.py[:DATASET]] [--step=N|best] [--weights=raw].

Prints a table and, as the last line, one JSON object.
"""

import sys
from pathlib import Path

from absl import flags

from cnn_zoo import command_line
from cnn_zoo.errors import UserError

_CONFIG = command_line.define_config("default: the configuration that the run was started with")
_WORKDIR = flags.DEFINE_string("workdir", None, "the run")
_STEP = flags.DEFINE_string("step", "last", "which checkpoint: a number, last or best")
_WEIGHTS = flags.DEFINE_enum("weights", "ema", ["ema", "raw"], "averaged weights (if the run has any) or raw ones")


def main():
  """Evaluates the run in --workdir."""
  if _WORKDIR.value is None:
    raise UserError("--workdir is missing; valid: the folder of a run, as train.py prints it")
  from cnn_zoo.data import CorruptRecordError
  from cnn_zoo.runs.evaluation import evaluate
  from cnn_zoo.training.mesh import initialize_processes

  initialize_processes()
  try:
    evaluate(_CONFIG.value, Path(_WORKDIR.value), _STEP.value, _WEIGHTS.value)
  except (CorruptRecordError, OSError) as error:
    sys.exit(f"error: {error}")


if __name__ == "__main__":
  command_line.run(main)

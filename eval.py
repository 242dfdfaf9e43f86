"""Evaluates a run: python eval.py --workdir=DIR [--split=val] [--step=N|last|best] [--weights=raw].

--config=configs/NAME.py[:DATASET] evaluates with another configuration of the same model. Prints a table and, as the
last line, one JSON object.
"""

import sys

from absl import flags

from cnn_zoo import command_line
from cnn_zoo.errors import UserError

_CONFIG = command_line.define_config("default: the configuration that the run was started with")
_WORKDIR = flags.DEFINE_string("workdir", None, "the run")
_SPLIT = flags.DEFINE_enum(
  "split", "test", ["val", "test"], "which examples: the test set, or those held out of training"
)
_STEP = flags.DEFINE_string(
  "step",
  None,
  "which checkpoint: a number, last or best; default: the best on the validation set, without one the last",
)
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
    evaluate(_CONFIG.value, _WORKDIR.value, _STEP.value, _WEIGHTS.value, split=_SPLIT.value)
  except (CorruptRecordError, OSError) as error:
    sys.exit(f"error: {error}")


if __name__ == "__main__":
  command_line.run(main)

"""Asks a trained run: `python scripts/predict.py --workdir=DIR FILE...`, or --test=N in place of the files.

A run on images or scenes answers to image files, one on waveforms to WAV files, one on clips to folders of frames.
--test=N takes the first N records of the run's test set and tells the truth beside the answers. Prints a table and one
JSON object a file, and draws a picture of each answer into --out.
"""

import pathlib
import sys

from absl import flags

from cnn_zoo.command_line import run
from cnn_zoo.errors import UserError

_WORKDIR = flags.DEFINE_string("workdir", None, "The run.")
_STEP = flags.DEFINE_string("step", "last", "Which checkpoint: a number, last or best.")
_WEIGHTS = flags.DEFINE_enum("weights", "ema", ["ema", "raw"], "Averaged weights (if the run has any) or raw ones.")
_TEST = flags.DEFINE_integer("test", None, "In place of files: how many records of the run's test set.")
_OUT = flags.DEFINE_string("out", None, "The folder of the pictures; default: WORKDIR/predictions.")
_TOP = flags.DEFINE_integer("top", 5, "How many classes to tell of, the most probable ones.")


def main(*files: str) -> None:
  """Answers to the files."""
  if _WORKDIR.value is None:
    raise UserError("--workdir is missing; valid: the folder of a run, as train.py prints it")
  from cnn_zoo.data import CorruptRecordError
  from cnn_zoo.runs.prediction import predict

  out = pathlib.Path(_OUT.value) if _OUT.value else None
  options = {"test": _TEST.value, "step": _STEP.value, "weights": _WEIGHTS.value, "out": out, "top": _TOP.value}
  try:
    predict(pathlib.Path(_WORKDIR.value), files, **options)
  except CorruptRecordError as error:
    sys.exit(f"error: {error}")


if __name__ == "__main__":
  run(main, takes_arguments=True)

"""Predicts with a trained run: `python scripts/predict.py --workdir=DIR FILE...`, or --test=N instead of the files.

A run on images or scenes takes image files, one on waveforms WAV files, one on clips folders of frames. --test=N takes
the first N records of the run's test set and shows their labels next to the predictions. Prints a table and one JSON
object a file, and draws a picture of each prediction into --out.
"""

import pathlib
import sys

from absl import flags

from cnn_zoo.command_line import run
from cnn_zoo.errors import UserError

_WORKDIR = flags.DEFINE_string("workdir", None, "The run.")
_STEP = flags.DEFINE_string("step", None, "Which checkpoint: a number, last or best; default: the one of the report.")
_WEIGHTS = flags.DEFINE_enum("weights", "ema", ["ema", "raw"], "Averaged weights (if the run has any) or raw ones.")
_TEST = flags.DEFINE_integer("test", None, "Instead of files: how many records of the run's test set.")
_OUT = flags.DEFINE_string("out", None, "The folder of the pictures; default: WORKDIR/predictions.")
_TOP = flags.DEFINE_integer("top", 5, "How many classes to report, the most probable ones.")
_MAX_SIZE = flags.DEFINE_integer(
  "max_size", 100, "Millions of pixels of an image, or samples of a waveform; larger files are refused.", 1, 10_000
)


def main(*files: str) -> None:
  """Predicts the files."""
  if _WORKDIR.value is None:
    raise UserError("--workdir is missing; valid: the folder of a run, as train.py prints it")
  from cnn_zoo.data import CorruptRecordError
  from cnn_zoo.runs.prediction import predict

  out = pathlib.Path(_OUT.value) if _OUT.value else None
  options = {"test": _TEST.value, "step": _STEP.value, "weights": _WEIGHTS.value, "out": out, "top": _TOP.value}
  options["largest"] = _MAX_SIZE.value * 1_000_000
  try:
    predict(_WORKDIR.value, files, **options)
  except CorruptRecordError as error:
    sys.exit(f"error: {error}")


if __name__ == "__main__":
  run(main, takes_arguments=True)

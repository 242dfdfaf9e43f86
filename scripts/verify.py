"""Checks the checkpoints of a run: `python scripts/verify.py --workdir=DIR`.

Every array is read and compared with the digest that was saved with it. Prints a line about each checkpoint; the exit
code is 1 if one is damaged.
"""

import sys

from absl import flags

from cnn_zoo.command_line import run
from cnn_zoo.errors import UserError

_WORKDIR = flags.DEFINE_string("workdir", None, "The run.")


def main() -> None:
  """Checks the run in --workdir."""
  if _WORKDIR.value is None:
    raise UserError("--workdir is missing; valid: the folder of a run, as train.py prints it")
  from cnn_zoo.runs.verification import verify

  if not verify(_WORKDIR.value):
    sys.exit(f"error: {_WORKDIR.value} holds damaged checkpoints; commands use the newest that is whole")


if __name__ == "__main__":
  run(main)

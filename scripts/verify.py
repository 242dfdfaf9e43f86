"""Checks what a run saved: `python scripts/verify.py --workdir=DIR`.

Every array of every checkpoint is read and compared with the digest that was saved with it; config.json must be a
configuration, and metrics.jsonl hold the rows that the last checkpoint knows of. Prints a line about each checkpoint
and each damage; the exit code is 1 if there is one.
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
    sys.exit(f"error: {_WORKDIR.value} is damaged")


if __name__ == "__main__":
  run(main)

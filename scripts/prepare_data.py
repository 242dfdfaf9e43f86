"""Downloads a dataset and writes it as ArrayRecord files: `python scripts/prepare_data.py NAME [--directory=DIR]`.

`--list` lists the datasets and whether they are prepared. Exit code 2: something in the command or in the archives is
wrong; 1: the download or the disk failed. Nothing unfinished is left in either case.
"""

import sys

import tensorflow_datasets as tfds
from absl import flags

from cnn_zoo.command_line import run
from cnn_zoo.data.builders import data_directory, is_prepared, make_builder
from cnn_zoo.data.prepare import PreparationError, prepare_dataset
from cnn_zoo.data.specs import SPECS
from cnn_zoo.errors import UserError

_DIRECTORY = flags.DEFINE_string("directory", None, "Where datasets are: $TFDS_DATA_DIR, else ~/tensorflow_datasets.")
_MANUAL_DIRECTORY = flags.DEFINE_string(
  "manual_directory", None, "Where archives downloaded by hand are (ImageNet's): downloads/manual in --directory."
)
_ACCEPT_CHECKSUMS = flags.DEFINE_bool(
  "accept_checksums", False, "Use archives with another checksum than expected, such as files compressed again."
)
_LIST = flags.DEFINE_bool("list", False, "List the datasets and whether they are prepared.")


def main(*names: str) -> None:
  """Prepares the dataset, or lists all of them."""
  directory = data_directory(_DIRECTORY.value)
  if _LIST.value:
    _list(directory)
    return
  if len(names) != 1:
    raise UserError(f"give one dataset to prepare; valid: {', '.join(SPECS)}")
  if not sys.stderr.isatty():
    tfds.disable_progress_bar()  # in a log, only the last line is of interest
  try:
    written = prepare_dataset(names[0], directory, _MANUAL_DIRECTORY.value, accept_checksums=_ACCEPT_CHECKSUMS.value)
  except PreparationError as error:
    sys.exit(f"error: {error}")
  print(f"{names[0]} is {'now' if written else 'already'} prepared in {directory}")


def _list(directory: str) -> None:
  print(f"In {directory}:")
  for name, spec in SPECS.items():
    state = "prepared" if is_prepared(make_builder(name, directory)) else "not prepared"
    if spec.embedded and state == "not prepared":
      state += " (done on first use)"
    print(f"  {name:15}  {spec.kind:8}  {state}")


if __name__ == "__main__":
  run(main, takes_arguments=True)

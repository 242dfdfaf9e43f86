"""Downloads a dataset and writes it as ArrayRecord files: `python scripts/prepare_data.py NAME [--directory=DIR]`.

`--list` says which datasets there are and which of them are prepared.
"""

import sys

from absl import app, flags, logging

from cnn_zoo.data.datasets import DATASETS, data_directory, is_prepared, list_datasets, make_builder
from cnn_zoo.data.embedded import EMBEDDED
from cnn_zoo.data.prepare import prepare_dataset
from cnn_zoo.errors import UserError

_DIRECTORY = flags.DEFINE_string("directory", None, "Where datasets are: $TFDS_DATA_DIR, else ~/tensorflow_datasets.")
_MANUAL_DIRECTORY = flags.DEFINE_string(
  "manual_directory", None, "Where archives downloaded by hand are (ImageNet's): downloads/manual in --directory."
)
_LIST = flags.DEFINE_bool("list", False, "List the datasets and whether they are prepared.")


def main(argv: list[str]) -> int:
  """Runs the command; returns the exit code."""
  logging.set_verbosity(logging.WARNING)  # TFDS has its progress bars
  directory = data_directory(_DIRECTORY.value)
  try:
    if _LIST.value:
      _list(directory)
      return 0
    if len(argv) != 2:
      raise UserError(f"give one dataset to prepare: {', '.join(list_datasets())}")
    written = prepare_dataset(argv[1], directory, _MANUAL_DIRECTORY.value)
    print(f"{argv[1]} is {'now' if written else 'already'} prepared in {directory}")
    return 0
  except UserError as error:
    print(f"error: {error}", file=sys.stderr)
    return 2


def _list(directory: str) -> None:
  print(f"In {directory}:")
  for name in list_datasets():
    state = "prepared" if is_prepared(make_builder(name, directory)) else "not prepared"
    if name in EMBEDDED and state == "not prepared":
      state += " (done on first use)"
    print(f"  {name:15}  {DATASETS[name][3]:8}  {state}")


if __name__ == "__main__":
  app.run(main)

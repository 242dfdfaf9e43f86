"""TFDS builders of the datasets, and where their files are."""

import importlib
import os
from pathlib import Path

from cnn_zoo.data.specs import SPECS
from cnn_zoo.data.tfds_internals import stand_ins
from cnn_zoo.errors import UserError


def data_directory(directory: str | None) -> str:
  """`directory`, or TFDS's default: $TFDS_DATA_DIR, else ~/tensorflow_datasets."""
  return os.path.expanduser(directory or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets")


def make_builder(name: str, directory: str):
  """The TFDS builder of a dataset in `SPECS`, over its files in `directory` where it is prepared.

  Raises:
    UserError: `directory` cannot be read, or the description of the dataset in it is broken.
  """
  import tensorflow_datasets as tfds  # takes a second

  spec = SPECS[name]
  module = f"cnn_zoo.data.embedded.{name}" if spec.embedded else spec.module
  if module:
    importlib.import_module(module)  # TFDS registers a builder when its class is made
  try:
    with stand_ins():  # the types of audio and video are TensorFlow's
      return tfds.builder(spec.tfds, data_dir=directory)
  except ImportError:
    raise
  except OSError as error:
    raise UserError(f"config.data.directory={directory!r} cannot be read: {error.strerror or error}") from error
  except Exception as error:  # TFDS and protobuf raise many kinds of errors for a dataset_info.json that is cut off
    place = Path(directory, spec.tfds.split("/")[0])
    if not place.exists():
      raise
    problem = " ".join(str(error).split()) or type(error).__name__
    raise UserError(f"config.data.name={name!r}: {place} is broken ({problem}); delete it and prepare again") from error


def is_prepared(builder) -> bool:
  """Whether the files of a builder are there; TFDS renames them into place when they are complete."""
  return (builder.data_path / "dataset_info.json").exists()


def prepare_command(name: str, directory) -> str:
  """The command that prepares a dataset, for messages."""
  command = f"python scripts/prepare_data.py {name} --directory={directory}"
  archives = SPECS[name].archives
  return f"{command} --manual_directory=DIR, with {' and '.join(archives)} in DIR" if archives else command

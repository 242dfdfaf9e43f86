"""Downloading and writing the datasets, once, through their TFDS builders."""

import os
import shutil

from cnn_zoo.data import embedded
from cnn_zoo.data.datasets import ARCHIVES, DATASETS, data_directory, is_prepared, make_builder
from cnn_zoo.data.stand_ins import stand_ins
from cnn_zoo.errors import UserError, check_name

# Programs that TFDS calls to prepare a dataset.
PROGRAMS = {"ucf101": "ffmpeg"}


def prepare_dataset(name: str, directory: str | None = None, manual_directory: str | None = None) -> bool:
  """Writes a dataset as ArrayRecord files, downloading it first where that is possible.

  Args:
    name: one of `list_datasets()`.
    directory: where the datasets are; None for TFDS's default.
    manual_directory: where archives are that were downloaded by hand: ImageNet's, and any other that need not be
      downloaded again; None for `downloads/manual` in `directory`.

  Returns:
    False if it was there already.

  Raises:
    UserError: the dataset is unknown, an archive or a program is missing, or it cannot be downloaded or written.
  """
  check_name("dataset", name, DATASETS)
  directory = data_directory(directory)
  manual_directory = os.path.expanduser(manual_directory or os.path.join(directory, "downloads", "manual"))
  builder = make_builder(name, directory)
  if is_prepared(builder):
    return False
  missing = [file for file in ARCHIVES.get(name, ()) if not os.path.exists(os.path.join(manual_directory, file))]
  if missing:
    raise UserError(
      f"{name} needs {' and '.join(missing)} in {manual_directory} (or --manual_directory=DIR); "
      f"register and download at {builder.info.homepage}"
    )
  if name in PROGRAMS and shutil.which(PROGRAMS[name]) is None:
    raise UserError(f"{name} can only be prepared with the program {PROGRAMS[name]}, which is not installed")
  if name in embedded.EMBEDDED:
    embedded.prepare(name, directory)
    return True
  import tensorflow_datasets as tfds

  config = tfds.download.DownloadConfig(manual_dir=manual_directory)
  try:
    with stand_ins():
      builder.download_and_prepare(download_config=config, file_format="array_record")
  except ImportError as error:
    raise UserError(f"{name} can only be prepared with TensorFlow installed, for {error}") from error
  except OSError as error:  # no network, no permission, no space
    raise UserError(f"{name} cannot be prepared in {directory}: {' '.join(str(error).split())}") from error
  return True

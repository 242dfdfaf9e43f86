"""Downloading and writing the datasets, once, through their TFDS builders."""

import contextlib
import gzip
import io
import os
import pathlib
import shutil
import tempfile
from collections.abc import Generator

from cnn_zoo.data.builders import data_directory, is_prepared, make_builder
from cnn_zoo.data.specs import SPECS
from cnn_zoo.data.tfds_internals import checksums, stand_ins
from cnn_zoo.errors import UserError, check_name

# Errors of the operating system that come from what an archive holds.
_FROM_ARCHIVES = (gzip.BadGzipFile, FileNotFoundError, IsADirectoryError, NotADirectoryError)


class PreparationError(RuntimeError):
  """A dataset could not be prepared because something broke: the network, the disk or a download."""


def prepare_dataset(
  name: str,
  directory: str | None = None,
  manual_directory: str | None = None,
  *,
  accept_checksums: bool = False,
) -> bool:
  """Writes a dataset as ArrayRecord files, downloading it first where that is possible.

  A dataset appears under its name when it is complete; after an error nothing is left of it but complete downloads.

  Args:
    name: one of `list_datasets()`.
    directory: where the datasets are; None for TFDS's default.
    manual_directory: where archives are that were downloaded by hand: ImageNet's, and any other that need not be
      downloaded again; None for `downloads/manual` in `directory`.
    accept_checksums: whether to use archives with another checksum than TFDS expects, such as repacked ones.

  Returns:
    False if it was there already.

  Raises:
    UserError: the dataset is unknown, an archive or a program is missing, an archive is not the expected one or broken.
    PreparationError: it cannot be downloaded or written.
  """
  check_name("dataset", name, SPECS)
  spec = SPECS[name]
  directory = data_directory(directory)
  if manual_directory and not os.path.isdir(os.path.expanduser(manual_directory)):
    raise UserError(f"manual_directory={manual_directory!r} is not a folder")
  manual_directory = os.path.expanduser(manual_directory or os.path.join(directory, "downloads", "manual"))
  builder = make_builder(name, directory)
  if is_prepared(builder):
    return False
  missing = [file for file in spec.archives if not os.path.exists(os.path.join(manual_directory, file))]
  if missing:
    raise UserError(
      f"{name} needs {' and '.join(missing)} in {manual_directory} (or --manual_directory=DIR); "
      f"register and download at {builder.info.homepage}"
    )
  for program in spec.programs:
    if shutil.which(program) is None:
      raise UserError(f"{name} can only be prepared with the program {program}, which is not installed")
  if spec.embedded:
    prepare_embedded(name, directory)
    return True
  import tensorflow_datasets as tfds

  with _errors_of_tfds(name, directory), checksums(accept_checksums), _scratch(name, directory) as scratch:
    config = tfds.download.DownloadConfig(manual_dir=manual_directory, extract_dir=scratch)
    builder.download_and_prepare(download_config=config, file_format="array_record")
  return True


def prepare_embedded(name: str, directory: str) -> None:
  """Writes an embedded dataset under `directory` unless it is there; many processes may do so at the same time.

  Each prepares a private copy next to the final place and renames it, which is atomic. A process that finds the place
  taken drops its copy and uses the other one. An interrupted preparation is never found under the final name.

  Args:
    name: an embedded dataset of `SPECS`.
    directory: where the datasets are.

  Raises:
    UserError: `directory` cannot be written.
    PreparationError: the disk is full or fails.
  """
  final = pathlib.Path(make_builder(name, directory).data_path)
  if final.exists():
    return
  with _errors_of_tfds(name, directory), _scratch(name, directory) as private:
    builder = make_builder(name, private)
    # Its progress bars would only suggest a download.
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
      builder.download_and_prepare(file_format="array_record")
    final.parent.mkdir(parents=True, exist_ok=True)
    try:
      os.rename(builder.data_path, final)
    except OSError:
      if not final.exists():
        raise


@contextlib.contextmanager
def _scratch(name: str, directory: str) -> Generator[str]:
  """A context with a folder in `directory` for what is not needed later; unfinished downloads are deleted with it."""
  try:
    os.makedirs(directory, exist_ok=True)
    folder = tempfile.mkdtemp(prefix=f".{name}-", dir=directory)
  except OSError as error:
    problem = "Not a directory" if isinstance(error, FileExistsError) else error.strerror
    raise UserError(f"config.data.directory={directory!r} cannot be written: {problem}") from error
  downloads = pathlib.Path(directory, "downloads", SPECS[name].tfds.split("/")[0])
  others = set(downloads.glob("*.tmp.*"))
  try:
    yield folder
  finally:
    for path in (folder, *set(downloads.glob("*.tmp.*")) - others):
      shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def _errors_of_tfds(name: str, directory: str) -> Generator[None]:
  """A context in which TFDS may prepare a dataset; its errors, of many kinds, become one line."""
  try:
    with stand_ins():
      yield
  except UserError:
    raise
  except ImportError as error:
    raise UserError(f"{name} can only be prepared with TensorFlow installed, for {error}") from error
  except Exception as error:
    from tensorflow_datasets.core.download.util import DownloadError

    says = " ".join(str(error).split()) or type(error).__name__
    causes = [error]
    while causes[-1].__cause__:
      causes.append(causes[-1].__cause__)
    # No network, no permission or no space; other errors come from reading the archives.
    broke = (cause for cause in causes if isinstance(cause, OSError | DownloadError))
    if any(not isinstance(cause, _FROM_ARCHIVES) for cause in broke):
      raise PreparationError(f"{name} cannot be prepared in {directory}: {says}") from error
    raise UserError(
      f"{name} cannot be prepared, because an archive is incomplete or not the expected one: {says}"
    ) from error

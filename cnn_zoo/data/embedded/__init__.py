"""The embedded datasets: TFDS builders of this package that need no download and are prepared on first use."""

import contextlib
import importlib
import io
import os
import pathlib
import shutil
import tempfile

from cnn_zoo.data.stand_ins import stand_ins
from cnn_zoo.errors import UserError

# Each is the TFDS builder in the module of its name.
EMBEDDED = ("digits", "moving_digits", "digit_scenes", "waveforms")


def import_builder(name: str) -> None:
  """Makes the builder of an embedded dataset known to TFDS, which registers a builder when its class is made.

  Only on demand, for importing TFDS takes a second.
  """
  importlib.import_module(f"cnn_zoo.data.embedded.{name}")


def prepare(name: str, directory: str) -> None:
  """Writes an embedded dataset under `directory`, unless it is there already; any number of processes may at once.

  Each prepares a private copy next to the final place and renames it there, which is atomic; who comes second finds the
  place taken, drops its copy and uses the first one's. What is interrupted is never found under the final name.

  Args:
    name: one of `EMBEDDED`.
    directory: where the datasets are.

  Raises:
    UserError: `directory` cannot be written.
  """
  import tensorflow_datasets as tfds

  import_builder(name)
  final = pathlib.Path(directory, name, str(tfds.builder_cls(name).VERSION))
  if final.exists():
    return
  try:
    final.parent.mkdir(parents=True, exist_ok=True)
    private = tempfile.mkdtemp(prefix=f".{name}-", dir=directory)
  except OSError as error:
    raise UserError(f"data.directory={directory!r} cannot be written: {error.strerror}") from error
  try:
    builder = tfds.builder(name, data_dir=private)
    with stand_ins(), contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
      builder.download_and_prepare(file_format="array_record")  # its progress bars would only tell of a download
    try:
      os.rename(builder.data_path, final)
    except OSError:
      if not final.exists():
        raise
  finally:
    shutil.rmtree(private, ignore_errors=True)

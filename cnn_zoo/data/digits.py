"""The embedded dataset: scikit-learn's 1,797 handwritten digits of 8 x 8 pixels, as a TFDS builder."""

import contextlib
import io
import os
import pathlib
import shutil
import tempfile
import zlib

import cv2
import numpy as np
import tensorflow_datasets as tfds

from cnn_zoo.data.stand_ins import stand_ins
from cnn_zoo.errors import UserError

NUM_TEST = 360


class Digits(tfds.core.GeneratorBasedBuilder):
  """UCI's optical recognition of handwritten digits, as scikit-learn ships it: 1,437 to train on and 360 to test on."""

  VERSION = tfds.core.Version("1.0.0")

  def _info(self):
    return tfds.core.DatasetInfo(
      builder=self,
      description=self.__doc__,
      features=tfds.features.FeaturesDict(
        {
          "image": tfds.features.Image(shape=(8, 8, 1), encoding_format="png"),
          "label": tfds.features.ClassLabel(names=[str(digit) for digit in range(10)]),
        }
      ),
      supervised_keys=("image", "label"),
      homepage="https://archive.ics.uci.edu/dataset/80",
      disable_shuffling=True,  # records stay in the order of scikit-learn's
    )

  def _split_generators(self, dl_manager):
    from sklearn.datasets import load_digits  # takes a second, and only the first use needs it

    digits = load_digits()
    # 0 to 16 becomes 0 to 255, in integers so that no rounding mode matters.
    images = ((digits.images.astype(np.int64) * 255 + 8) // 16).astype(np.uint8)
    test = test_indices(digits.target)
    train = sorted(set(range(len(images))) - set(test))
    return {
      "train": self._generate_examples(images, digits.target, train),
      "test": self._generate_examples(images, digits.target, test),
    }

  def _generate_examples(self, images, labels, indices):
    for index in indices:
      # Bytes, because TFDS would need TensorFlow to encode an array.
      yield index, {"image": cv2.imencode(".png", images[index])[1].tobytes(), "label": int(labels[index])}


def test_indices(labels: np.ndarray) -> list[int]:
  """The fixed test set: sorted indices of `NUM_TEST` examples, stratified over the classes by largest remainder.

  Within a class, examples are ordered by the CRC-32 of their index in decimal and the first are taken: a choice that no
  version of any library can change.

  Args:
    labels: [examples], class of each example.
  """
  counts = np.bincount(labels)
  quotas, remainders = np.divmod(counts * NUM_TEST, len(labels))
  quotas[np.argsort(-remainders, kind="stable")[: NUM_TEST - quotas.sum()]] += 1
  chosen = []
  for label, quota in enumerate(quotas):
    members = np.flatnonzero(labels == label).tolist()
    chosen += sorted(members, key=lambda index: zlib.crc32(str(index).encode()))[:quota]
  return sorted(chosen)


def prepare(directory: str) -> None:
  """Writes the dataset under `directory`, unless it is there already; any number of processes may do so at once.

  Each prepares a private copy next to the final place and renames it there, which is atomic; who comes second finds the
  place taken, drops its copy and uses the first one's. What is interrupted is never found under the final name.

  Raises:
    UserError: `directory` cannot be written.
  """
  final = pathlib.Path(directory, "digits", str(Digits.VERSION))
  if final.exists():
    return
  try:
    final.parent.mkdir(parents=True, exist_ok=True)
    private = tempfile.mkdtemp(prefix=".digits-", dir=directory)
  except OSError as error:
    raise UserError(f"data.directory={directory!r} cannot be written: {error.strerror}") from error
  try:
    builder = Digits(data_dir=private)
    with stand_ins(), contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
      builder.download_and_prepare(file_format="array_record")  # its progress bars would only tell of a download
    try:
      os.rename(builder.data_path, final)
    except OSError:
      if not final.exists():
        raise
  finally:
    shutil.rmtree(private, ignore_errors=True)

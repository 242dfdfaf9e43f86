"""The embedded images: scikit-learn's 1,797 handwritten digits of 8 x 8 pixels, as a TFDS builder."""

import zlib

import numpy as np
import tensorflow_datasets as tfds

from cnn_zoo.data.embedded.synthesis import encode_png

NUM_TEST = 360


class Digits(tfds.core.GeneratorBasedBuilder):
  """UCI's optical recognition of handwritten digits, as scikit-learn ships it: 1,437 training and 360 test images."""

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
    return {split: self._generate_examples(*examples) for split, examples in split_digits().items()}

  def _generate_examples(self, images, labels):
    for index, (image, label) in enumerate(zip(images, labels, strict=True)):
      yield index, {"image": encode_png(image[:, :, None]), "label": int(label)}


def split_digits() -> dict[str, tuple[np.ndarray, np.ndarray]]:
  """Images, uint8 [examples, 8, 8], and labels, [examples], of "train" and "test", in scikit-learn's order."""
  from sklearn.datasets import load_digits  # takes a second, and only the first use needs it

  digits = load_digits()
  # 0 to 16 becomes 0 to 255, in integers so that no rounding mode matters.
  images = ((digits.images.astype(np.int64) * 255 + 8) // 16).astype(np.uint8)
  test = test_indices(digits.target)
  train = sorted(set(range(len(images))) - set(test))
  return {split: (images[chosen], digits.target[chosen]) for split, chosen in (("train", train), ("test", test))}


def test_indices(labels: np.ndarray) -> list[int]:
  """The fixed test set: sorted indices of `NUM_TEST` examples, stratified over the classes by largest remainder.

  Within a class, examples are ordered by the CRC-32 of their index in decimal and the first are taken. So the choice
  does not depend on the version of any library.

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

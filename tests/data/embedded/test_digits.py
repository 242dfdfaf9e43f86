import hashlib

import numpy as np
from sklearn.datasets import load_digits

from cnn_zoo.data.decode import decode_image
from cnn_zoo.data.embedded import digits as digits_module


def test_split_is_fixed_for_ever():
  labels = load_digits().target
  indices = digits_module.test_indices(labels)
  assert len(indices) == len(set(indices)) == 360
  assert indices[:8] == [2, 6, 23, 27, 33, 37, 42, 52]
  assert (
    hashlib.sha256(repr(indices).encode()).hexdigest()
    == "6557cb70b162af9f7ff0d04207c0e331d2e58df80724166781591380070af5f2"
  )
  counts = np.bincount(labels)
  assert np.abs(np.bincount(labels[indices]) - counts * 360 / 1797).max() < 1


def test_records_are_the_digits_of_scikit_learn(digits):
  source = load_digits()
  test = digits_module.test_indices(source.target)
  train = [index for index in range(1797) if index not in set(test)]
  assert (digits.num_train, digits.num_test) == (len(train), len(test)) == (1437, 360)
  for records, indices in ((digits.train, train), (digits.test, test)):
    assert [record["label"] for record in records] == source.target[indices].tolist()
    pixels = np.stack([decode_image(record["image"], 1)[:, :, 0] for record in records])
    assert (pixels.min(), pixels.max()) == (0, 255)
    np.testing.assert_allclose(pixels, source.images[indices] * 255 / 16, atol=0.5)

import numpy as np
import pytest

from cnn_zoo.data.decode import decode_image
from cnn_zoo.data.embedded.synthesis import balanced_labels, draw_digit, encode_png, make_rng, noise, to_uint8

DIGIT = np.random.default_rng(0).integers(0, 256, (8, 8), dtype=np.uint8)


def test_every_split_of_every_dataset_has_random_numbers_of_its_own():
  first = [make_rng(*names).random() for names in (("a", "train"), ("a", "test"), ("b", "train"), ("a", "train"))]
  assert len(set(first)) == 3 and first[0] == first[3]


def test_noise_is_standard():
  samples = noise(make_rng("a", "train"), 100, 1000)
  assert samples.shape == (100, 1000)
  assert abs(samples.mean()) < 0.01 and abs(samples.std() - 1) < 0.01
  assert abs(np.mean(np.abs(samples) < 1) - 0.68) < 0.02  # as of a normal distribution


def test_balanced_labels():
  labels = balanced_labels(make_rng("a", "train"), 103, 10)
  assert np.bincount(labels).tolist() == [11] * 3 + [10] * 7
  assert (np.diff(labels) != 1).any()


def test_a_digit_of_its_own_size_is_itself():
  places = np.arange(12) - 5.5
  image = draw_digit(DIGIT, 8, places, places)
  np.testing.assert_array_equal(to_uint8(image), np.pad(DIGIT, 2))


def test_an_enlarged_digit_runs_through_its_pixels():
  """At three times the size, every third pixel is one of the digit's; a shifted digit is the digit somewhere else."""
  places = np.arange(24) - 11.5
  image = draw_digit(DIGIT, 24, places, places)
  np.testing.assert_array_equal(to_uint8(image[1::3, 1::3]), DIGIT)
  moved = draw_digit(DIGIT, 24, np.stack([places, places - 2]), np.stack([places, places + 1]))
  np.testing.assert_allclose(moved[0], image)
  np.testing.assert_allclose(moved[1][2:, :-1], image[:-2, 1:], atol=1e-12)


@pytest.mark.parametrize("channels", [1, 3])
def test_png_is_lossless(channels):
  image = np.random.default_rng(0).integers(0, 256, (5, 7, channels), dtype=np.uint8)
  np.testing.assert_array_equal(decode_image(encode_png(image), channels), image)

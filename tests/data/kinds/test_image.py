import types

import cv2
import numpy as np
import pytest
import simplejpeg

from cnn_zoo.data.kinds.image import _random_box, _random_matrix, augmented_image, plain_image, resize, warp
from tests.helpers.tiny_datasets import encode_png, make_settings


def settings(**overrides):
  return types.SimpleNamespace(**make_settings(**overrides))


def ramp(height, width):
  """Red grows to the right, green downwards: a pixel's colour says where it came from."""
  y, x = np.mgrid[:height, :width]
  return np.stack([255 * x / (width - 1), 255 * y / (height - 1), 0 * x], axis=-1).round().astype(np.uint8)


def test_no_augmentation_is_the_identity():
  image = ramp(32, 32)
  rng = np.random.default_rng(0)
  for make in (
    lambda data: augmented_image(data, 3, settings(image_size=32), rng),
    lambda data: plain_image(data, 3, settings(image_size=32)),
    lambda data: plain_image(data, 3, settings(image_size=32, crop="random", test_crop=1.0)),
  ):
    np.testing.assert_array_equal(make(encode_png(image)), image)


@pytest.mark.parametrize("shape", [(8, 8, 1), (40, 20, 1), (5, 300, 3), (300, 200, 3), (1, 1, 3)])
@pytest.mark.parametrize("crop", ["resize", "random"])
def test_any_image_becomes_the_wanted_size(shape, crop):
  image = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
  wanted = settings(image_size=24, crop=crop, flip=True, shift=0.1, rotate=20.0, zoom=0.2)
  for seed in range(10):
    result = augmented_image(encode_png(image), shape[2], wanted, np.random.default_rng(seed))
    assert result.shape == (24, 24, shape[2]) and result.dtype == np.uint8
  assert plain_image(encode_png(image), shape[2], wanted).shape == (24, 24, shape[2])


def test_flip():
  image = ramp(16, 16)
  data, wanted = encode_png(image), settings(image_size=16, flip=True)
  results = [augmented_image(data, 3, wanted, np.random.default_rng(seed)) for seed in range(20)]
  flipped = [(result == image[:, ::-1]).all() for result in results]
  assert all((result == image).all() or mirrored for result, mirrored in zip(results, flipped, strict=True))
  assert 4 < sum(flipped) < 16


def test_random_box_areas_and_aspects():
  rng = np.random.default_rng(0)
  boxes = np.array([_random_box(300, 400, 0.25, rng) for _ in range(2000)])
  top, left, height, width = boxes.T
  assert (top >= 0).all() and (left >= 0).all() and (top + height <= 300).all() and (left + width <= 400).all()
  area, aspect = height * width / (300 * 400), width / height
  assert 0.24 < area.min() < 0.27 and 0.9 < area.max() <= 1
  assert 0.74 < aspect.min() < 0.78 and 1.30 < aspect.max() < 1.35
  assert top.min() == 0 and (top + height).max() == 300


def test_random_box_of_a_long_image():
  assert _random_box(10, 400, 0.9, np.random.default_rng(0)) == (0, 193, 10, 13)


def test_a_crop_of_a_scaled_jpeg_shows_the_same_part():
  """Of an image four times as large, decoded at a quarter, the crop drawn is the same."""
  large, small = ramp(1600, 1200), ramp(400, 300)
  wanted = settings(image_size=64, crop="random", min_area=0.5)
  for seed in range(5):
    fast, slow = (
      augmented_image(data, 3, wanted, np.random.default_rng(seed)).astype(int)
      for data in (simplejpeg.encode_jpeg(large, quality=98), encode_png(small))
    )
    assert np.abs(fast - slow).max() < 12 and np.abs(fast - slow).mean() < 2


def test_centre_crop_of_the_test_image():
  """Short side to 64 / 0.8 = 80, of which the middle 64: from 10% to 90% of it."""
  result = plain_image(encode_png(ramp(200, 400)), 3, settings(image_size=64, crop="random", test_crop=0.8))
  red, green = result[32, :, 0].astype(float), result[:, 32, 1].astype(float)
  np.testing.assert_allclose([green[0], green[-1]], [0.1 * 255, 0.9 * 255], atol=3)
  np.testing.assert_allclose([red[0], red[-1]], [0.3 * 255, 0.7 * 255], atol=3)


def test_resize_kinds():
  image = np.random.default_rng(0).integers(0, 256, (60, 60, 3), dtype=np.uint8)
  np.testing.assert_array_equal(resize(image, 30, 30), cv2.resize(image, (30, 30), interpolation=cv2.INTER_AREA))
  np.testing.assert_array_equal(resize(image, 90, 90), cv2.resize(image, (90, 90), interpolation=cv2.INTER_CUBIC))
  bilinear = cv2.resize(image, (40, 40), interpolation=cv2.INTER_LINEAR)
  np.testing.assert_array_equal(resize(image, 40, 40, exact=False), bilinear)
  assert resize(image, 60, 60) is image


class _Draws:
  """A generator whose uniform draws are given."""

  def __init__(self, *values):
    self._values = np.array(values, float)

  def uniform(self, low, high, size):
    assert (low, high, size) == (-1, 1, len(self._values))
    return self._values


def test_affine_moves_as_it_says():
  image = ramp(65, 65)
  centre = np.array([32, 32])

  def moved(*draws):
    return warp(image, _random_matrix(65, 0.125, 90.0, 1.0, _Draws(*draws)))

  def source(draws, at):
    """Column and row that the pixel at column and row `at` came from."""
    column, row = at
    return np.round(moved(*draws)[row, column, :2] / 255 * 64)

  np.testing.assert_array_equal(moved(0, 0, 0, 0), image)
  np.testing.assert_allclose(source((1, 0, 0, 0), centre), (24, 32), atol=1)  # to the right by an eighth
  np.testing.assert_allclose(source((0, 1, 0, 0), centre), (32, 24), atol=1)
  np.testing.assert_allclose(source((0, 0, 0, 1), (48, 32)), (40, 32), atol=1)  # in by two
  np.testing.assert_allclose(source((0, 0, 0, -1), (40, 32)), (48, 32), atol=1)  # out by two
  np.testing.assert_allclose(source((0, 0, 1, 0), (48, 32)), (32, 48), atol=1)  # a quarter turn
  np.testing.assert_array_equal(source((1, 0, 0, 0), (0, 32)), (0, 32))  # the border is repeated

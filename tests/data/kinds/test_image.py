import io
import types

import cv2
import numpy as np
import pytest
import simplejpeg
from PIL import Image, ImageOps

from cnn_zoo.data.kinds.image import (
  View,
  _random_box,
  _random_matrix,
  augmented_image,
  plain_image,
  read_file,
  resize,
  view_image,
  warp,
)
from tests.helpers.tiny_datasets import encode_png, make_dataset, make_settings


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


@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize("channels", [1, 3])
def test_each_axis_is_resized_for_itself(swapped, channels):
  """One axis grows a little, the other shrinks by 32: averages along the one that shrinks."""
  stripes = np.zeros((31, 1024, channels), np.uint8)
  stripes[:, ::2] = 255
  line = np.zeros_like(stripes)
  line[:, 500:502] = 255
  for image, row in ((stripes, [128] * 32), (line, [0] * 15 + [16] + [0] * 16)):
    result = resize(image.swapaxes(0, 1) if swapped else image, 32, 32).reshape(32, 32, channels)
    result = result.swapaxes(0, 1) if swapped else result
    assert (result == result[:1]).all() and result[0, :, 0].tolist() == row


@pytest.mark.parametrize("exact", [True, False])
def test_what_grows_along_one_axis_is_cubic_along_it(exact):
  image = np.random.default_rng(0).integers(0, 256, (20, 90, 3), dtype=np.uint8)
  shrunk = cv2.resize(image, (30, 20), interpolation=cv2.INTER_AREA)
  np.testing.assert_array_equal(
    resize(image, 33, 30, exact), cv2.resize(shrunk, (30, 33), interpolation=cv2.INTER_CUBIC)
  )
  assert resize(image, 20, 30, exact).shape == (20, 30, 3)


@pytest.mark.parametrize("crop", ["resize", "random"])
def test_a_thin_line_does_not_disappear(crop):
  """In training, in evaluation and in prediction, of a long image and of a part of it."""
  image = np.zeros((31, 1024, 3), np.uint8)
  image[:, 500:502] = 255  # in the middle, so that the crop shows it
  wanted = settings(image_size=32, crop=crop, min_area=0.02, test_crop=1.0)
  data = encode_png(image)
  assert plain_image(data, 3, wanted).max() >= 16
  wanted.crop = "resize"
  assert augmented_image(data, 3, wanted, np.random.default_rng(0)).max() >= 16
  view = View((0, 300, 31, 600), None, False)
  assert view_image(data, 3, 32, view).max() >= 20


def oriented(image, orientation, **options):
  """A file of `image` as a camera held otherwise would write it."""
  exif = Image.Exif()
  exif[0x0112] = orientation
  # The transformations are their own inverses but for the two rotations by 90 degrees.
  inverse = Image.Exif()
  inverse[0x0112] = {6: 8, 8: 6}.get(orientation, orientation)
  stored = Image.fromarray(image)
  stored.info["exif"] = inverse.tobytes()
  stored = ImageOps.exif_transpose(stored)
  data = io.BytesIO()
  stored.save(data, exif=exif, **options)
  return data.getvalue()


@pytest.mark.parametrize("format", ["jpeg", "png", "webp", "tiff"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_files_are_upright(orientation, format, tmp_path):
  """As EXIF says; also files with transparency."""
  image = ramp(40, 64)
  image[:16, :16] = 255
  options = {"format": format, "quality": 100, "lossless": True}
  (tmp_path / "photo").write_bytes(oriented(image, orientation, **options))
  for crop in ("resize", "random"):
    wanted = settings(image_size=32, crop=crop)
    expected = plain_image(encode_png(image), 3, wanted).astype(int)
    result = read_file(tmp_path / "photo", make_dataset().info, wanted)
    assert np.abs(result - expected).mean() < 2
  if format == "png":
    rgba = np.dstack([image, np.full(image.shape[:2], 255, np.uint8)])
    (tmp_path / "rgba").write_bytes(oriented(rgba, orientation, **options))
    np.testing.assert_array_equal(read_file(tmp_path / "rgba", make_dataset().info, wanted), expected)


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

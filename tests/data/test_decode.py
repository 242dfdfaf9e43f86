import io

import cv2
import numpy as np
import pytest
import simplejpeg
from PIL import Image
from tiny_datasets import encode_png

from cnn_zoo.data.decode import CorruptRecordError, decode_image, image_size


def smooth(height, width, channels=3):
  pixels = np.random.default_rng(0).integers(0, 256, (6, 8, channels), dtype=np.uint8)
  return cv2.resize(pixels, (width, height), interpolation=cv2.INTER_CUBIC).reshape(height, width, channels)


def pillow(image, mode, **options):
  data = io.BytesIO()
  Image.fromarray(image).convert(mode).save(data, **options)
  return data.getvalue()


def test_png_is_lossless_and_rgb():
  for channels in (1, 3):
    image = smooth(20, 30, channels)
    np.testing.assert_array_equal(decode_image(encode_png(image), channels), image)
    assert image_size(encode_png(image)) == (20, 30)


@pytest.mark.parametrize("mode", ["RGB", "CMYK"])
def test_jpeg_is_rgb(mode):
  image = smooth(60, 80)
  data = pillow(image, mode, format="jpeg", quality=95)
  assert image_size(data) == (60, 80)
  assert np.abs(decode_image(data, 3).astype(int) - image).mean() < 3


def test_grayscale_and_colour_are_converted():
  image = smooth(60, 80)
  gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
  for save in ({"format": "jpeg", "quality": 95}, {"format": "png"}):
    assert np.abs(decode_image(pillow(image, "RGB", **save), 1)[:, :, 0].astype(int) - gray).mean() < 2
    as_rgb = decode_image(pillow(image, "L", **save), 3)
    assert as_rgb.shape == (60, 80, 3) and (as_rgb[:, :, 0] == as_rgb[:, :, 2]).all()


def test_jpeg_is_scaled_down_by_two_or_more_or_not_at_all():
  image = smooth(300, 400)
  data = simplejpeg.encode_jpeg(image, quality=95)
  assert decode_image(data, 3, 160, 100).shape == (300, 400, 3)
  half = decode_image(data, 3, 140, 100)
  assert half.shape == (150, 200, 3)
  assert np.abs(half.astype(int) - cv2.resize(image, (200, 150), interpolation=cv2.INTER_AREA)).mean() < 1
  assert decode_image(data, 3, 30, 100).shape == (75, 100, 3)


def test_orientation_tags_are_ignored():
  exif = Image.Exif()
  exif[0x0112] = 6
  for format in ("jpeg", "png"):
    assert decode_image(pillow(smooth(20, 30), "RGB", format=format, exif=exif), 3).shape == (20, 30, 3)


def test_stray_bytes_in_a_jpeg_are_forgiven():
  data = simplejpeg.encode_jpeg(smooth(60, 80), quality=95)
  data = data[:20] + b"\x11\x22\x33" + data[20:]  # after the first segment
  with pytest.raises(ValueError, match="extraneous"):
    simplejpeg.decode_jpeg(data)
  assert decode_image(data, 3).shape == (60, 80, 3)


@pytest.mark.parametrize(
  "data",
  [
    b"",
    b"\xff\xd8",
    b"\xff\xd8 no header",
    b"not an image",
    simplejpeg.encode_jpeg(smooth(60, 80))[:-200],
    encode_png(smooth(60, 80))[:20],
    encode_png(smooth(60, 80))[:-300],
  ],
)
def test_what_is_no_complete_image(data):
  with pytest.raises(CorruptRecordError, match="not a complete image"):
    decode_image(data, 3)

"""Encoded image bytes to pixels: JPEG through simplejpeg (libjpeg-turbo), everything else through OpenCV."""

import struct

import cv2
import numpy as np
import simplejpeg

# Images are decoded in parallel by threads and processes of their own; OpenCV's threads would only compete with them.
cv2.setNumThreads(1)


class CorruptRecordError(RuntimeError):
  """A record of a dataset cannot be read or its image cannot be decoded; the message names dataset, split and index."""


def decode_image(data: bytes, channels: int, min_height: int = 0, min_width: int = 0) -> np.ndarray:
  """Decodes an image of any format and colour space.

  Args:
    data: the encoded image.
    channels: 3 for RGB, 1 for grayscale.
    min_height: if given with `min_width`, a JPEG may come scaled down, by two or more, to no less than this, in pixels.
    min_width: see `min_height`.

  Returns:
    uint8 [height, width, channels]; orientation tags are ignored, as TFDS and TensorFlow do.

  Raises:
    CorruptRecordError: the bytes do not decode, or stop before the image is complete.
  """
  if data[:2] == b"\xff\xd8":
    try:
      return simplejpeg.decode_jpeg(
        data,
        colorspace="RGB" if channels == 3 else "GRAY",
        min_height=min_height,
        min_width=min_width,
        # Without limits there is nothing to scale to; between one and two, scaling costs more time than it saves.
        min_factor=2 if min_height and min_width else 1,
      )
    except ValueError:
      pass  # OpenCV forgives what some images of ImageNet have (stray bytes between markers), and refuses cut-off ones.
  flags = cv2.IMREAD_COLOR_RGB if channels == 3 else cv2.IMREAD_GRAYSCALE
  try:
    image = cv2.imdecode(np.frombuffer(data, np.uint8), flags | cv2.IMREAD_IGNORE_ORIENTATION)
  except cv2.error:  # for example because there are no bytes at all
    image = None
  if image is None:
    raise CorruptRecordError(f"{len(data)} bytes that are not a complete image: {data[:8]!r}...")
  return image.reshape(*image.shape[:2], channels)


def image_size(data: bytes) -> tuple[int, int]:
  """Height and width of an encoded image, in pixels, from its header where the format is JPEG or PNG.

  Raises:
    CorruptRecordError: as `decode_image` does.
  """
  if data[:2] == b"\xff\xd8":
    try:
      return simplejpeg.decode_jpeg_header(data, strict=False)[:2]
    except ValueError:
      pass
  if data[:8] == b"\x89PNG\r\n\x1a\n" and len(data) >= 24:
    width, height = struct.unpack(">II", data[16:24])
    return height, width
  return decode_image(data, channels=3).shape[:2]

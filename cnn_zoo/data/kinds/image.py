"""Images: decode, crop, resize, shift, rotate, zoom and flip one image of a record.

Pixels are uint8 throughout; `settings` is `config.data`. Normalisation is per batch and runs on the device.
"""

import math
from pathlib import Path
from typing import NamedTuple

import cv2
import jax
import numpy as np

from cnn_zoo.data.decode import LARGEST, check_image_size, decode_image, image_size, read_bytes

CROPS = ("resize", "random")

TASK = "classification"
RANK = 2
FEATURE = "image"
LABEL = "label"
NO_LABEL = 0
SETTINGS = ("image_size", "crop", "min_area", "test_crop", "flip", "shift", "rotate", "zoom")
SIZES = ("image_size", "image_size")
FILE = "an image file, such as JPEG or PNG"


class View(NamedTuple):
  """Which part of an image a training example shows; the frames of a clip share one, a scene and its label map too.

  Attributes:
    box: top, left, height and width of the part, in pixels of the image; None for the whole image.
    matrix: [2, 3], of the affine map of the resized part onto itself; None for the identity.
    flip: whether the result is mirrored left to right.
  """

  box: tuple[int, int, int, int] | None
  matrix: np.ndarray | None
  flip: bool


def channels(features) -> int:
  """Number of channels, from the features of a TFDS builder: 3 (RGB) or 1 (grayscale)."""
  return features[FEATURE].shape[-1]


def shapes(settings, channels: int) -> tuple[jax.ShapeDtypeStruct, jax.ShapeDtypeStruct]:
  """Shapes and dtypes of an input, uint8 [image_size, image_size, channels], and its label, int32 []."""
  size = settings.image_size
  return jax.ShapeDtypeStruct((size, size, channels), np.uint8), jax.ShapeDtypeStruct((), np.int32)


def make_example(record: dict, info, settings, rng: np.random.Generator | None) -> tuple[np.ndarray, np.int32]:
  """Input and label of `{"image": encoded bytes, "label": int}`; augmented if there is an `rng`."""
  data = record["image"]
  if rng is None:
    image = plain_image(data, info.channels, settings)
  else:
    image = augmented_image(data, info.channels, settings, rng)
  return image, np.int32(record["label"])


def read_file(file: Path, info, settings, largest: int = LARGEST) -> np.ndarray:
  """The input from an image file, upright as its EXIF orientation says: uint8 [image_size, image_size, channels].

  Raises:
    CorruptRecordError: it is not an image, or has more than `largest` pixels.
  """
  data = read_bytes(file, largest)
  check_image_size(data, largest)
  return plain_image(data, info.channels, settings, upright=True)


def augmented_image(data: bytes, channels: int, settings, rng: np.random.Generator) -> np.ndarray:
  """Decodes and augments one training image: uint8 [image_size, image_size, channels]."""
  return view_image(data, channels, settings.image_size, random_view(data, settings, rng))


def plain_image(data: bytes, channels: int, settings, *, upright: bool = False) -> np.ndarray:
  """Decodes one image without augmentation: uint8 [image_size, image_size, channels].

  With `settings.crop="random"` it is the centre crop, otherwise the whole image.

  Args:
    data: the encoded image.
    channels: 3 (RGB) or 1 (grayscale).
    settings: `config.data`.
    upright: whether the EXIF orientation is honoured.
  """
  size = settings.image_size
  short_side = round(size / settings.test_crop) if settings.crop == "random" else size
  image = decode_image(data, channels, short_side, short_side, upright=upright)
  if settings.crop == "random":
    image = centre(resize(image, *scaled(*image.shape[:2], short_side)), size)
  else:
    image = resize(image, size, size)
  return image.reshape(size, size, channels)  # OpenCV drops a channel dimension of one


def random_view(data: bytes, settings, rng: np.random.Generator) -> View:
  """Draws which part of an encoded image to show."""
  box, matrix = None, None
  if settings.crop == "random":
    box = _random_box(*image_size(data), settings.min_area, rng)
  if settings.shift or settings.rotate or settings.zoom:
    matrix = _random_matrix(settings.image_size, settings.shift, settings.rotate, settings.zoom, rng)
  return View(box, matrix, bool(settings.flip and rng.random() < 0.5))


def view_image(data: bytes, channels: int, size: int, view: View) -> np.ndarray:
  """Decodes an image and shows the part that `view` specifies: uint8 [size, size, channels]."""
  if view.box is None:
    image = resize(decode_image(data, channels, size, size), size, size)
  else:
    image = _crop(data, channels, size, view.box)
  if view.matrix is not None:
    image = warp(image, view.matrix)
  if view.flip:
    image = image[:, ::-1]
  return image.reshape(size, size, channels)


def resize(image: np.ndarray, height: int, width: int, exact: bool = True) -> np.ndarray:
  """Resizes an image, each axis for itself: averages of areas where it shrinks, cubic interpolation where it grows.

  Example:
    >>> import numpy as np
    >>> from cnn_zoo.data.kinds.image import resize
    >>> stripes = np.zeros((31, 1024, 1), np.uint8)
    >>> stripes[:, ::2] = 255
    >>> np.unique(resize(stripes, 32, 32))  # the mean, 127.5, rounded
    array([128], dtype=uint8)

  Args:
    image: uint8 [any, any, channels].
    height: of the result.
    width: of the result.
    exact: if False, an image of which no axis shrinks by two or more, but one shrinks, is resized bilinearly, which
      aliases a little and is six times as fast.

  Returns:
    uint8 [height, width, channels], or [height, width] of one channel, as OpenCV does.
  """
  if image.shape[:2] == (height, width):
    return image
  shrink = image.shape[0] / height, image.shape[1] / width
  if max(shrink) <= 1:
    interpolation = cv2.INTER_CUBIC
  elif not exact and max(shrink) < 2:
    interpolation = cv2.INTER_LINEAR
  elif min(shrink) >= 1:
    interpolation = cv2.INTER_AREA
  else:  # INTER_AREA interpolates linearly along both axes if one of them grows; so first the axis that shrinks
    partial = (height, image.shape[1]) if shrink[0] > 1 else (image.shape[0], width)
    return resize(resize(image, *partial), height, width)
  return cv2.resize(image, (width, height), interpolation=interpolation)


def warp(image: np.ndarray, matrix: np.ndarray) -> np.ndarray:
  """Maps the pixels of uint8 [height, width, channels] by an affine [2, 3]; outside, the border is repeated."""
  size = image.shape[1::-1]
  return cv2.warpAffine(image, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def scaled(height: int, width: int, short_side: int) -> tuple[int, int]:
  """Height and width of an image whose shorter side becomes `short_side`."""
  scale = short_side / min(height, width)
  return max(short_side, round(height * scale)), max(short_side, round(width * scale))


def centre(image: np.ndarray, size: int) -> np.ndarray:
  """The [size, size, ...] in the middle of [height, width, ...]."""
  top, left = (image.shape[0] - size) // 2, (image.shape[1] - size) // 2
  return image[top : top + size, left : left + size]


def _crop(data: bytes, channels: int, size: int, box: tuple[int, int, int, int]) -> np.ndarray:
  """A part of the image, resized; of a large JPEG, only as many pixels are decoded as the result needs."""
  height, width = image_size(data)
  top, left, crop_height, crop_width = box
  image = decode_image(data, channels, math.ceil(size * height / crop_height), math.ceil(size * width / crop_width))
  scale_y, scale_x = image.shape[0] / height, image.shape[1] / width
  top, bottom = round(top * scale_y), round((top + crop_height) * scale_y)
  left, right = round(left * scale_x), round((left + crop_width) * scale_x)
  return resize(image[top:bottom, left:right], size, size, exact=False)


def _random_box(height: int, width: int, min_area: float, rng: np.random.Generator) -> tuple[int, int, int, int]:
  """Top, left, height and width of a part with between `min_area` and all of the area and aspect ratio 3/4 to 4/3.

  Szegedy et al., Going Deeper with Convolutions (2014), section 6.
  """
  for _ in range(10):
    area = height * width * rng.uniform(min_area, 1)
    aspect = math.exp(rng.uniform(math.log(3 / 4), math.log(4 / 3)))
    crop_height, crop_width = round(math.sqrt(area / aspect)), round(math.sqrt(area * aspect))
    if 0 < crop_height <= height and 0 < crop_width <= width:
      top, left = rng.integers(height - crop_height + 1), rng.integers(width - crop_width + 1)
      return int(top), int(left), crop_height, crop_width
  # A long or tiny image on which no draw fits: the largest centred part of an allowed aspect ratio.
  crop_height, crop_width = min(height, round(width * 4 / 3)), min(width, round(height * 4 / 3))
  return (height - crop_height) // 2, (width - crop_width) // 2, crop_height, crop_width


def _random_matrix(size: int, shift: float, rotate: float, zoom: float, rng: np.random.Generator) -> np.ndarray:
  """Shifts by up to `shift` of the side, rotates by up to `rotate` degrees, zooms in or out by up to 1 + `zoom`."""
  shift_x, shift_y, angle, magnification = rng.uniform(-1, 1, size=4)
  middle = (size - 1) / 2
  matrix = cv2.getRotationMatrix2D((middle, middle), rotate * angle, (1 + zoom) ** magnification)
  matrix[:, 2] += shift * size * shift_x, shift * size * shift_y
  return matrix

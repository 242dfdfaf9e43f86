"""What happens to one image between its record and its batch: decode, crop, resize, shift, rotate, zoom, flip.

Pixels are uint8 throughout; `settings` is `config.data`. Normalisation is of whole batches and runs on the device.
"""

import math
from typing import NamedTuple

import cv2
import jax
import numpy as np

from cnn_zoo.data.decode import decode_image, image_size

CROPS = ("resize", "random")

# The fields of `config.data` that are read here, besides those that every kind of dataset has.
SETTINGS = ("image_size", "crop", "min_area", "test_crop", "flip", "shift", "rotate", "zoom")


class View(NamedTuple):
  """What a training example shows of its image; a clip's frames share one, and a scene and its label map do.

  Attributes:
    box: top, left, height and width of the part, in pixels of the image; None for all of it.
    matrix: [2, 3], of the affine map of the resized part onto itself; None for the identity.
    flip: whether the result is mirrored left to right.
  """

  box: tuple[int, int, int, int] | None
  matrix: np.ndarray | None
  flip: bool


def shapes(settings, channels: int) -> tuple[jax.ShapeDtypeStruct, jax.ShapeDtypeStruct]:
  """Shapes and dtypes of an example's input and label."""
  size = settings.image_size
  return jax.ShapeDtypeStruct((size, size, channels), np.uint8), jax.ShapeDtypeStruct((), np.int32)


def make_example(record: dict, dataset, settings, rng: np.random.Generator | None) -> tuple[np.ndarray, np.int32]:
  """Input and label of `{"image": encoded bytes, "label": int}`; with `rng` a training, without it a test example."""
  data, channels = record["image"], dataset.channels
  image = plain_image(data, channels, settings) if rng is None else augmented_image(data, channels, settings, rng)
  return image, np.int32(record["label"])


def augmented_image(data: bytes, channels: int, settings, rng: np.random.Generator) -> np.ndarray:
  """Decodes and augments one training image: uint8 [image_size, image_size, channels]."""
  return view_image(data, channels, settings.image_size, random_view(data, settings, rng))


def plain_image(data: bytes, channels: int, settings) -> np.ndarray:
  """Decodes one test image, without any randomness: uint8 [image_size, image_size, channels]."""
  size = settings.image_size
  if settings.crop == "random":
    short_side = round(size / settings.test_crop)
    image = decode_image(data, channels, short_side, short_side)
    image = centre(resize(image, *scaled(*image.shape[:2], short_side)), size)
  else:
    image = resize(decode_image(data, channels, size, size), size, size)
  return image.reshape(size, size, channels)  # OpenCV drops a channel dimension of one


def random_view(data: bytes, settings, rng: np.random.Generator) -> View:
  """Draws what to show of an encoded image."""
  box, matrix = None, None
  if settings.crop == "random":
    box = _random_box(*image_size(data), settings.min_area, rng)
  if settings.shift or settings.rotate or settings.zoom:
    matrix = _random_matrix(settings.image_size, settings.shift, settings.rotate, settings.zoom, rng)
  return View(box, matrix, bool(settings.flip and rng.random() < 0.5))


def view_image(data: bytes, channels: int, size: int, view: View) -> np.ndarray:
  """Decodes an image and shows what `view` says of it: uint8 [size, size, channels]."""
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
  """Resizes uint8 [any, any, channels] to [height, width, channels]: cubic to enlarge, averages of areas to shrink.

  Unless `exact`, shrinking by less than two is bilinear, which aliases a little and is six times as fast.
  """
  if image.shape[:2] == (height, width):
    return image
  shrink = max(image.shape[0] / height, image.shape[1] / width)
  shrinking = cv2.INTER_AREA if exact or shrink >= 2 else cv2.INTER_LINEAR
  interpolation = shrinking if shrink > 1 else cv2.INTER_CUBIC
  return cv2.resize(image, (width, height), interpolation=interpolation)


def warp(image: np.ndarray, matrix: np.ndarray) -> np.ndarray:
  """Maps the pixels of uint8 [height, width, channels] by [2, 3]; what comes from outside repeats the border."""
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

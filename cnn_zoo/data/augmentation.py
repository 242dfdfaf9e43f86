"""What happens to one image between its record and its batch: decode, crop, resize, shift, rotate, zoom, flip.

Pixels are uint8 throughout; `settings` is `config.data`. Normalisation is of whole batches and runs on the device.
"""

import math

import cv2
import numpy as np

from cnn_zoo.data.decode import decode_image, image_size

CROPS = ("resize", "random")


def augmented_image(data: bytes, channels: int, settings, rng: np.random.Generator) -> np.ndarray:
  """Decodes and augments one training image: uint8 [image_size, image_size, channels]."""
  size = settings.image_size
  if settings.crop == "random":
    image = _random_crop(data, channels, size, settings.min_area, rng)
  else:
    image = resize(decode_image(data, channels, size, size), size, size)
  if settings.shift or settings.rotate or settings.zoom:
    image = _random_affine(image, settings.shift, settings.rotate, settings.zoom, rng)
  if settings.flip and rng.random() < 0.5:
    image = image[:, ::-1]
  return image.reshape(size, size, channels)  # OpenCV drops a channel dimension of one


def plain_image(data: bytes, channels: int, settings) -> np.ndarray:
  """Decodes one test image, without any randomness: uint8 [image_size, image_size, channels]."""
  size = settings.image_size
  if settings.crop == "random":
    image = _centre_crop(data, channels, size, round(size / settings.test_crop))
  else:
    image = resize(decode_image(data, channels, size, size), size, size)
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


def _random_crop(data: bytes, channels: int, size: int, min_area: float, rng: np.random.Generator) -> np.ndarray:
  """A random part of the image, resized; of a large JPEG, only as many pixels are decoded as the result needs."""
  height, width = image_size(data)
  top, left, crop_height, crop_width = _random_box(height, width, min_area, rng)
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


def _centre_crop(data: bytes, channels: int, size: int, short_side: int) -> np.ndarray:
  """Resizes the short side of the image to `short_side` and keeps the centre [size, size]."""
  image = decode_image(data, channels, short_side, short_side)
  scale = short_side / min(image.shape[:2])
  height, width = (max(short_side, round(side * scale)) for side in image.shape[:2])
  image = resize(image, height, width)
  top, left = (height - size) // 2, (width - size) // 2
  return image[top : top + size, left : left + size]


def _random_affine(image: np.ndarray, shift: float, rotate: float, zoom: float, rng: np.random.Generator) -> np.ndarray:
  """Shifts by up to `shift` of each side, rotates by up to `rotate` degrees, zooms in or out by up to 1 + `zoom`."""
  height, width = image.shape[:2]
  shift_x, shift_y, angle, magnification = rng.uniform(-1, 1, size=4)
  centre = ((width - 1) / 2, (height - 1) / 2)
  matrix = cv2.getRotationMatrix2D(centre, rotate * angle, (1 + zoom) ** magnification)
  matrix[:, 2] += shift * width * shift_x, shift * height * shift_y
  return cv2.warpAffine(image, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)

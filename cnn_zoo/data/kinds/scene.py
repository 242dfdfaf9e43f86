"""Scenes: an image and its label map, the class of each pixel, which are cropped, resized and augmented alike.

Pixels are interpolated, labels never: each pixel of a label map has the class of the nearest pixel of the mask.
"""

from pathlib import Path

import cv2
import jax
import numpy as np

from cnn_zoo.data.decode import LARGEST, CorruptRecordError, decode_image
from cnn_zoo.data.kinds import image as pixels

IGNORE = 255  # the label of pixels that have none, in records as in batches

TASK = "segmentation"
RANK = 2
FEATURE = "image"
LABEL = "segmentation_mask"
NO_LABEL = IGNORE
SETTINGS = pixels.SETTINGS
SIZES = pixels.SIZES
FILE = pixels.FILE


def channels(features) -> int:
  """Number of channels, from the features of a TFDS builder: 3 (RGB) or 1 (grayscale)."""
  return pixels.channels(features)


def shapes(settings, channels: int) -> tuple[jax.ShapeDtypeStruct, jax.ShapeDtypeStruct]:
  """Shapes and dtypes of an input, uint8 [image_size, image_size, channels], and its label map, uint8."""
  scene, _ = pixels.shapes(settings, channels)
  return scene, jax.ShapeDtypeStruct(scene.shape[:2], np.uint8)


def make_example(record: dict, info, settings, rng: np.random.Generator | None) -> tuple[np.ndarray, np.ndarray]:
  """Input and label of `{"image": encoded bytes, "segmentation_mask": encoded bytes}`.

  It is augmented if there is an `rng`; pixels that a shift, a rotation or a zoom uncovers have no label.

  Returns:
    uint8 [image_size, image_size, channels] and uint8 [image_size, image_size].

  Raises:
    CorruptRecordError: image or mask do not decode, differ in size, or the mask has a value that is no class.
  """
  data, channels = record["image"], info.channels
  labels = _labels(decode_image(record["segmentation_mask"], channels=1)[:, :, 0], info)
  height, width = pixels.image_size(data)
  if labels.shape != (height, width):
    raise CorruptRecordError(f"the image has {height} x {width} pixels, its mask {labels.shape[0]} x {labels.shape[1]}")
  if rng is None:
    return pixels.plain_image(data, channels, settings), _plain_labels(labels, settings)
  view = pixels.random_view(data, settings, rng)
  scene = pixels.view_image(data, channels, settings.image_size, view)
  return scene, _view_labels(labels, settings.image_size, view)


def read_file(file: Path, info, settings, largest: int = LARGEST) -> np.ndarray:
  """The input from an image file; as `image.read_file`."""
  return pixels.read_file(file, info, settings, largest)


def _labels(mask: np.ndarray, info) -> np.ndarray:
  """The classes, from 0 on, that the values of a mask stand for."""
  unknown = IGNORE - 1
  classes = np.full(256, unknown, np.uint8)
  classes[IGNORE] = IGNORE
  classes[info.first_label : info.first_label + info.num_classes] = np.arange(info.num_classes)
  labels = classes[mask]
  if (labels == unknown).any():
    raise CorruptRecordError(f"the mask has the value {mask[labels == unknown][0]}, which is no class")
  return labels


def _view_labels(labels: np.ndarray, size: int, view: pixels.View) -> np.ndarray:
  """The labels of the part that `image.view_image` shows: uint8 [size, size]."""
  if view.box is not None:
    top, left, height, width = view.box
    labels = labels[top : top + height, left : left + width]
  labels = _nearest(labels, size, size)
  if view.matrix is not None:
    flags, border = cv2.INTER_NEAREST, cv2.BORDER_CONSTANT
    labels = cv2.warpAffine(labels, view.matrix, (size, size), flags=flags, borderMode=border, borderValue=IGNORE)
  return labels[:, ::-1] if view.flip else labels


def _plain_labels(labels: np.ndarray, settings) -> np.ndarray:
  """The labels of the part that `image.plain_image` shows: uint8 [image_size, image_size]."""
  size = settings.image_size
  if settings.crop == "random":
    return pixels.centre(_nearest(labels, *pixels.scaled(*labels.shape, round(size / settings.test_crop))), size)
  return _nearest(labels, size, size)


def _nearest(labels: np.ndarray, height: int, width: int) -> np.ndarray:
  # Unlike INTER_NEAREST, it takes the pixel under the centre of the new pixel, not under its corner.
  return cv2.resize(labels, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)

"""Clips: some consecutive frames of one video of a record, each treated as an image.

Crop, shift, rotation, zoom and flip are drawn once per clip: they change the point of view, not the motion.
"""

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import jax
import numpy as np

from cnn_zoo.data.decode import LARGEST, CorruptRecordError
from cnn_zoo.data.kinds import image as frames

TASK = "classification"
RANK = 3
FEATURE = "video"
LABEL = "label"
NO_LABEL = 0
SETTINGS = ("frames", *frames.SETTINGS)
SIZES = ("frames", *frames.SIZES)
FILE = "a folder of frames, which are image files"

# File name extensions of frames; a folder may hold other files too.
FRAMES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")


def channels(features) -> int:
  """Number of channels, from the features of a TFDS builder: 3 (RGB) or 1 (grayscale)."""
  return features[FEATURE].shape[-1]


def shapes(settings, channels: int) -> tuple[jax.ShapeDtypeStruct, jax.ShapeDtypeStruct]:
  """Shapes and dtypes of an input, uint8 [frames, image_size, image_size, channels], and its label, int32 []."""
  frame, label = frames.shapes(settings, channels)
  return jax.ShapeDtypeStruct((settings.frames, *frame.shape), frame.dtype), label


def make_example(record: dict, info, settings, rng: np.random.Generator | None) -> tuple[np.ndarray, np.int32]:
  """Input and label of `{"video": encoded frames, "label": int}`.

  With an `rng` it is augmented and starts anywhere in the video; otherwise it is the middle of the video. If the video
  is too short, its last frame is repeated.

  Returns:
    uint8 [frames, image_size, image_size, channels], and the label.

  Raises:
    CorruptRecordError: there are no frames, or one does not decode.
  """
  video = record["video"]
  if not len(video):
    raise CorruptRecordError("a video without frames")
  surplus = max(0, len(video) - settings.frames)
  start = surplus // 2 if rng is None else int(rng.integers(surplus + 1))
  video = video[start : start + settings.frames]
  view = None if rng is None else frames.random_view(video[0], settings, rng)

  def show(index: int) -> np.ndarray:
    try:
      if view is None:
        return frames.plain_image(video[index], info.channels, settings)
      return frames.view_image(video[index], info.channels, settings.image_size, view)
    except CorruptRecordError as error:
      raise CorruptRecordError(f"frame {start + index}: {error}") from error

  return _stack(show, len(video), info, settings), np.int32(record["label"])


def read_file(file: Path, info, settings, largest: int = LARGEST) -> np.ndarray:
  """The input from a folder of image files: uint8 [frames, image_size, image_size, channels].

  The frames are the files in the order of their names, where 2 comes before 10, and the middle of them is taken. Their
  EXIF orientation is honoured.

  Raises:
    CorruptRecordError: there are no frames, or one does not decode or has more than `largest` pixels.
  """
  files = frame_files(file)
  if not files:
    raise CorruptRecordError(f"it holds no file that ends with {', '.join(FRAMES)}")
  start = max(0, len(files) - settings.frames) // 2
  files = files[start : start + settings.frames]

  def show(index: int) -> np.ndarray:
    try:
      return frames.read_file(files[index], info, settings, largest)
    except CorruptRecordError as error:
      raise type(error)(f"{files[index].name}: {error}") from error

  return _stack(show, len(files), info, settings)


def frame_files(folder: Path) -> Sequence[Path]:
  """The image files in a folder, ordered by their names as a person would: frame2 before frame10."""
  found = [file for file in folder.iterdir() if file.suffix.lower() in FRAMES and not file.name.startswith(".")]
  return sorted(found, key=lambda file: (_natural(file.name), file.name))


def _stack(show: Callable[[int], np.ndarray], number: int, info, settings) -> np.ndarray:
  """The frames `show(0)` to `show(number - 1)`, of which the last is repeated if there are too few."""
  clip = np.empty(shapes(settings, info.channels)[0].shape, np.uint8)
  for index in range(number):
    clip[index] = show(index)
  clip[number:] = clip[number - 1]
  return clip


def _natural(name: str) -> list[str | int]:
  """The texts and numbers of a name, which alternate."""
  return [int(part) if index % 2 else part.casefold() for index, part in enumerate(re.split(r"(\d+)", name))]

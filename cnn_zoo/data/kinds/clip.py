"""What happens to one video between its record and its batch: some consecutive frames, each treated as the first is.

Crop, shift, rotation, zoom and flip are drawn once for the clip: they change where it is seen from, not how it moves.
"""

import jax
import numpy as np

from cnn_zoo.data.decode import CorruptRecordError
from cnn_zoo.data.kinds import image as frames

# The fields of `config.data` that are read here, besides those that every kind of dataset has.
SETTINGS = ("frames", *frames.SETTINGS)


def shapes(settings, channels: int) -> tuple[jax.ShapeDtypeStruct, jax.ShapeDtypeStruct]:
  """Shapes and dtypes of an example's input and label."""
  frame, label = frames.shapes(settings, channels)
  return jax.ShapeDtypeStruct((settings.frames, *frame.shape), frame.dtype), label


def make_example(record: dict, dataset, settings, rng: np.random.Generator | None) -> tuple[np.ndarray, np.int32]:
  """Input and label of `{"video": encoded frames, "label": int}`.

  With `rng` it is a training example, which starts anywhere in the video; a test example is the video's middle. Of a
  video that is too short, the last frame is repeated.

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
  clip = np.empty(shapes(settings, dataset.channels)[0].shape, np.uint8)
  for index, data in enumerate(video):
    try:
      if view is None:
        clip[index] = frames.plain_image(data, dataset.channels, settings)
      else:
        clip[index] = frames.view_image(data, dataset.channels, settings.image_size, view)
    except CorruptRecordError as error:
      raise CorruptRecordError(f"frame {start + index}: {error}") from error
  clip[len(video) :] = clip[len(video) - 1]
  return clip, np.int32(record["label"])

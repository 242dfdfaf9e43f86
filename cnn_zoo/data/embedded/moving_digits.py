"""The embedded clips: handwritten digits that move in one of eight directions, as a TFDS builder."""

import math

import numpy as np
import tensorflow_datasets as tfds

from cnn_zoo.data.embedded.digits import split_digits
from cnn_zoo.data.embedded.synthesis import (
  balanced_labels,
  choice,
  draw_digit,
  encode_png,
  make_rng,
  noise,
  to_uint8,
  uniform,
)

# Clockwise, 45 degrees apart.
DIRECTIONS = ("right", "down_right", "down", "down_left", "left", "up_left", "up", "up_right")
CLIPS = {"train": 2000, "test": 400}
FRAMES = 16
SIDE = 32

SIZE = (14.0, 18.0)  # of a digit, in pixels
SPEED = (1.0, 2.5)  # in pixels a frame
BRIGHTNESS = (0.6, 1.0)
NOISE = (0.0, 0.04)  # standard deviation, where 1 is white


class MovingDigits(tfds.core.GeneratorBasedBuilder):
  """Clips of 16 frames, 32 x 32 pixels, grayscale, of a handwritten digit that moves; the class is its direction.

  A digit that leaves the image enters it again on the other side, and it starts anywhere with equal probability. So
  single frames have the same distribution in all classes: only the motion shows the direction. The digits are those of
  UCI's optical recognition of handwritten digits, licence CC BY 4.0, as scikit-learn ships them: in the training clips
  those of `digits`' training set, in the test clips those of its test set.
  """

  VERSION = tfds.core.Version("1.0.0")

  def _info(self):
    return tfds.core.DatasetInfo(
      builder=self,
      description=self.__doc__,
      features=tfds.features.FeaturesDict(
        {
          # As tfds.features.Video is stored, but Video itself needs TensorFlow.
          "video": tfds.features.Sequence(
            tfds.features.Image(shape=(SIDE, SIDE, 1), encoding_format="png"), length=FRAMES
          ),
          "label": tfds.features.ClassLabel(names=list(DIRECTIONS)),
        }
      ),
      supervised_keys=("video", "label"),
      homepage="https://archive.ics.uci.edu/dataset/80",
      disable_shuffling=True,  # the order is random already
    )

  def _split_generators(self, dl_manager):
    return {split: self._generate_examples(split, images) for split, (images, _) in split_digits().items()}

  def _generate_examples(self, split, digits):
    rng = make_rng("moving_digits", split)
    for index, label in enumerate(balanced_labels(rng, CLIPS[split], len(DIRECTIONS))):
      clip = make_clip(rng, digits[choice(rng, len(digits))], label)
      yield index, {"video": [encode_png(frame) for frame in clip], "label": int(label)}


def make_clip(rng: np.random.Generator, digit: np.ndarray, direction: int) -> np.ndarray:
  """A clip, uint8 [FRAMES, SIDE, SIDE, 1], of a digit, uint8 [8, 8], that moves in a direction of `DIRECTIONS`."""
  size, speed = uniform(rng, *SIZE), uniform(rng, *SPEED)
  brightness, deviation = uniform(rng, *BRIGHTNESS), uniform(rng, *NOISE)
  angle = direction * math.pi / 4
  rows, columns = (_distances(SIDE * rng.random(), step) for step in (speed * math.sin(angle), speed * math.cos(angle)))
  clip = brightness * draw_digit(digit, size, rows, columns) + deviation * noise(rng, FRAMES, SIDE, SIDE)
  return to_uint8(clip)[..., None]


def _distances(start: float, step: float) -> np.ndarray:
  """[FRAMES, SIDE], distance of each pixel from the nearest of the centres, which recur every SIDE pixels."""
  centres = start + step * np.arange(FRAMES)
  return (np.arange(SIDE) - centres[:, None] + SIDE / 2) % SIDE - SIDE / 2

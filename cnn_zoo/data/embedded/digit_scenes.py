"""The embedded scenes: handwritten digits in front of textured backgrounds, with a label map, as a TFDS builder."""

import math

import numpy as np
import tensorflow_datasets as tfds

from cnn_zoo.data.embedded.digits import split_digits
from cnn_zoo.data.embedded.synthesis import choice, draw_digit, encode_png, make_rng, noise, to_uint8, uniform
from cnn_zoo.data.kinds.scene import IGNORE

CLASSES = ("background", *(str(digit) for digit in range(10)))
SCENES = {"train": 1500, "test": 300}
SIDE = 64

MAX_DIGITS = 4
SIZE = (18.0, 30.0)  # of a digit, in pixels
THRESHOLD = 0.4  # intensity from which a pixel belongs to a digit
AMBIGUOUS = 0.1  # pixels at the edge of a digit are ignored if they are no farther than this from the threshold
CONTRAST = 0.45  # least distance of a digit's colour from those of the background, where black to white is sqrt(3)
NOISE = (0.0, 0.03)  # standard deviation, where 1 is white


class DigitScenes(tfds.core.GeneratorBasedBuilder):
  """Scenes of 64 x 64 pixels, RGB: one to four handwritten digits in random colours on textured backgrounds.

  The label map has 0 for the background, 1 + d for digit d, and 255, to be ignored, where the edge of a digit crosses
  a pixel. The digits are those of UCI's optical recognition of handwritten digits, licence CC BY 4.0, as
  scikit-learn ships them: in the training scenes those of `digits`' training set, in the test scenes those of its test
  set.
  """

  VERSION = tfds.core.Version("1.0.0")

  def _info(self):
    return tfds.core.DatasetInfo(
      builder=self,
      description=self.__doc__,
      features=tfds.features.FeaturesDict(
        {
          "image": tfds.features.Image(shape=(SIDE, SIDE, 3), encoding_format="png"),
          "segmentation_mask": tfds.features.LabeledImage(
            labels=list(CLASSES), shape=(SIDE, SIDE, 1), encoding_format="png"
          ),
        }
      ),
      supervised_keys=("image", "segmentation_mask"),
      homepage="https://archive.ics.uci.edu/dataset/80",
      disable_shuffling=True,  # the order is random already
    )

  def _split_generators(self, dl_manager):
    return {split: self._generate_examples(split, *examples) for split, examples in split_digits().items()}

  def _generate_examples(self, split, digits, labels):
    rng = make_rng("digit_scenes", split)
    for index in range(SCENES[split]):
      image, label_map = make_scene(rng, digits, labels)
      yield index, {"image": encode_png(image), "segmentation_mask": encode_png(label_map)}


def make_scene(rng: np.random.Generator, digits: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """A scene, uint8 [SIDE, SIDE, 3], and its label map, uint8 [SIDE, SIDE, 1].

  Args:
    rng: source of all random numbers of the scene.
    digits: uint8 [examples, 8, 8], to choose from.
    labels: [examples], which digit each is.
  """
  colours = _background_colours(rng)
  texture = _texture(rng)[:, :, None]
  scene = colours[0] + texture * (colours[1] - colours[0])
  label_map = np.zeros((SIDE, SIDE), np.uint8)
  for size, row, column in _places(rng, 1 + choice(rng, MAX_DIGITS)):
    chosen = choice(rng, len(digits))
    intensity = draw_digit(digits[chosen], size, np.arange(SIDE) - row, np.arange(SIDE) - column)
    # Steeper than the intensities, so that strokes are of one colour: opaque from a little above the threshold on.
    opacity = np.clip((intensity - THRESHOLD) / (2 * AMBIGUOUS) + 0.5, 0, 1)[:, :, None]
    scene += opacity * (_digit_colour(rng, colours) - scene)
    label_map[intensity > THRESHOLD] = 1 + labels[chosen]
    label_map[_ambiguous(intensity)] = IGNORE
  scene += uniform(rng, *NOISE) * noise(rng, SIDE, SIDE, 3)
  return to_uint8(scene), label_map[:, :, None]


def _background_colours(rng: np.random.Generator) -> np.ndarray:
  """[2, 3], the colours between which the background varies: a random one, and another not too far from it."""
  colour = rng.random(3)
  return np.clip([colour, colour + 0.7 * (rng.random(3) - 0.5)], 0, 1)


def _texture(rng: np.random.Generator) -> np.ndarray:
  """[SIDE, SIDE] from 0 to 1: a slope, stripes and blobs, in random proportions."""
  places = np.arange(SIDE) / SIDE
  rows, columns = places[:, None], places[None, :]
  slope, stripes = (
    rows * math.sin(angle) + columns * math.cos(angle) for angle in (uniform(rng, 0, 2 * math.pi) for _ in range(2))
  )
  stripes = np.sin(2 * math.pi * (uniform(rng, 2, 10) * stripes + rng.random()))
  blobs = draw_digit(255 * rng.random((8, 8)), SIDE, np.arange(SIDE) - SIDE / 2, np.arange(SIDE) - SIDE / 2)
  layers = [(layer - layer.min()) / (layer.max() - layer.min()) for layer in (slope, stripes, blobs)]
  shares = rng.random(3) ** 2
  return sum(share * layer for share, layer in zip(shares / shares.sum(), layers, strict=True))


def _places(rng: np.random.Generator, number: int) -> list[tuple[float, float, float]]:
  """Size, row and column of up to `number` digits, which overlap little; a digit without room is left out."""
  places = []
  for _ in range(number):
    size = uniform(rng, *SIZE)
    for _ in range(20):
      row, column = (uniform(rng, size / 2, SIDE - 1 - size / 2) for _ in range(2))
      # Digits are higher than they are wide.
      if all(
        max(abs(row - other_row), 1.3 * abs(column - other_column)) > (size + other) / 2
        for other, other_row, other_column in places
      ):
        places.append((size, row, column))
        break
  return places


def _digit_colour(rng: np.random.Generator, background: np.ndarray) -> np.ndarray:
  """[3], the first random colour that is `CONTRAST` from all colours between the two of the background."""
  start, way = background[0], background[1] - background[0]
  while True:
    colour = rng.random(3)
    share = np.clip((colour - start) @ way / (way @ way), 0, 1)
    if np.sum((colour - start - share * way) ** 2) >= CONTRAST**2:
      return colour


def _ambiguous(intensity: np.ndarray) -> np.ndarray:
  """[SIDE, SIDE], whether a pixel is next to the edge of the digit and its intensity is close to the threshold."""
  inside = np.pad(intensity > THRESHOLD, 1)
  centre = inside[1:-1, 1:-1]
  neighbours = inside[:-2, 1:-1], inside[2:, 1:-1], inside[1:-1, :-2], inside[1:-1, 2:]
  edge = np.any([neighbour != centre for neighbour in neighbours], axis=0)
  return edge & (np.abs(intensity - THRESHOLD) < AMBIGUOUS)

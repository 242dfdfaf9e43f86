"""A small network of every family, which the tests of all architectures (tests/models/test_families.py) run."""

import dataclasses
from collections.abc import Mapping


@dataclasses.dataclass(frozen=True)
class Member:
  """A small network of a family. The file of the family's tests has it in a table `MEMBERS`, by the model's name.

  Attributes:
    sizes: {rank: size of the input along each axis}; the first rank is the family's own.
    options: of the architecture.
    fixed: {model: values that replace the fixed ones of its registry entry}.
    tables: values of constants, by where they are in cnn_zoo.models.
    quick: whether it is small enough to compute its training step at rank 3.
    reached: the only parts of the model that a gradient reaches at first, where the classifier starts at zero.
  """

  sizes: Mapping[int, int]
  options: Mapping = dataclasses.field(default_factory=dict)
  fixed: Mapping = dataclasses.field(default_factory=dict)
  tables: Mapping = dataclasses.field(default_factory=dict)
  quick: bool = True
  reached: tuple[str, ...] = ()


def ranks(image: int, waveform: int | None = None, clip: int | None = None) -> dict[int, int]:
  """The sizes of a network of images that can be built at other ranks."""
  return {2: image, 1: waveform or image, 3: clip or image}


def one_block(name: str) -> dict:
  """The fixed values with which model `name` has one block a stage."""
  return {name: {"layers": (1, 1, 1, 1)}}


FULLY_CONNECTED = {"hidden_features": 16, "dropout_rate": 0.2}
MULTIPLIED = {"width": 0.25, "depth": 0.1, "dropout_rate": 0.5}
RESNET = {"resnet.CHANNELS": (8, 12, 16, 20), "resnet.STEM": 8}
VGG = {"vgg.CHANNELS": (4, 8, 8, 12, 12)}

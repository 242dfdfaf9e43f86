"""Everything that is known of each dataset, in one entry: a new dataset is a new `DatasetSpec` in `SPECS`.

Its name is what follows the colon in `--config=configs/NAME.py:DATASET`.
"""

import dataclasses
import functools
import importlib.resources
from collections.abc import Mapping
from typing import Any


@dataclasses.dataclass(frozen=True)
class DatasetSpec:
  """What is known of a dataset.

  Example:
    >>> from cnn_zoo.data import SPECS
    >>> spec = SPECS["cifar10"]
    >>> spec.kind, spec.train, spec.test
    ('image', 'train', 'test')
    >>> spec.settings["flip"]
    True

  Attributes:
    tfds: its name in TFDS, `NAME` or `NAME/CONFIG`.
    kind: what an example is: a module of `cnn_zoo.data.kinds`.
    settings: the fields of `config.data` that differ from their defaults.
    recipe: the recipe that files of configs/ have for it; None if it has the name of the dataset.
    train: the TFDS split to train on.
    test: the TFDS split whose metrics are reported.
    validation: the TFDS split that chooses the best checkpoint, where the authors of the dataset made one besides the
      test set; None to hold out `config.data.validation` of the training records.
    embedded: whether it is made by the TFDS builder in `cnn_zoo.data.embedded.NAME`, without a download.
    module: the module of TFDS that defines the builder, where TFDS does not import it itself.
    sample_rate: of waveforms, samples per second.
    class_names: names of the classes, where TFDS has none.
    class_names_file: a file in this folder with a line `TFDS's name, space, name in English` for each class.
    first_label: of scenes, the value of the first class in a mask.
    archives: files that TFDS cannot download; a person puts them into the manual directory.
    programs: programs that TFDS calls to prepare it.
    published: of an embedded dataset, the dataset of its kind that published weights are trained on.
  """

  tfds: str
  kind: str
  settings: Mapping[str, Any]
  recipe: str | None = None
  train: str = "train"
  test: str = "test"
  validation: str | None = None
  embedded: bool = False
  module: str | None = None
  sample_rate: int | None = None
  class_names: tuple[str, ...] | None = None
  class_names_file: str | None = None
  first_label: int = 0
  archives: tuple[str, ...] = ()
  programs: tuple[str, ...] = ()
  published: str | None = None


# Normalisation of torchvision's video models.
_VIDEO = {"mean": (0.43, 0.39, 0.38), "std": (0.23, 0.22, 0.22)}

SPECS: dict[str, DatasetSpec] = {
  "digits": DatasetSpec(
    "digits",
    "image",
    {"image_size": 32, "shift": 0.1, "rotate": 10.0, "zoom": 0.1},
    embedded=True,
    published="imagenet",
  ),
  "mnist": DatasetSpec("mnist", "image", {"image_size": 32, "shift": 0.1, "rotate": 10.0}),
  "fashion_mnist": DatasetSpec("fashion_mnist", "image", {"image_size": 32, "shift": 0.1, "flip": True}),
  "cifar10": DatasetSpec("cifar10", "image", {"image_size": 32, "shift": 0.125, "flip": True}, recipe="cifar"),
  "cifar100": DatasetSpec("cifar100", "image", {"image_size": 32, "shift": 0.125, "flip": True}, recipe="cifar"),
  "imagenette": DatasetSpec(
    "imagenette/320px-v2",
    "image",
    {"image_size": 224, "crop": "random", "flip": True},
    test="validation",  # it has no other
    class_names_file="imagenet_classes.txt",
  ),
  "imagenet": DatasetSpec(
    "imagenet2012",
    "image",
    {"image_size": 224, "crop": "random", "flip": True, "validation": 0.01},
    test="validation",  # the labels of its test set are secret, so publications report this one
    class_names_file="imagenet_classes.txt",
    archives=("ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar"),
  ),
  "waveforms": DatasetSpec(
    "waveforms",
    "waveform",
    {"samples": 8000, "mean": (0.0,), "std": (0.05,), "time_shift": 0.1},
    embedded=True,
    sample_rate=8000,
    published="speech_commands",
  ),
  "speech_commands": DatasetSpec(
    "speech_commands",
    "waveform",
    {"samples": 16000, "mean": (0.0,), "std": (0.1,), "time_shift": 0.1, "noise": 0.01},
    recipe="speech",
    validation="validation",
    sample_rate=16000,
  ),
  "moving_digits": DatasetSpec(
    "moving_digits",
    "clip",
    {"image_size": 32, "frames": 16},
    recipe="clips",
    embedded=True,
    published="ucf101",
  ),
  "ucf101": DatasetSpec(
    "ucf101/ucf101_1",  # the first of its three ways to split
    "clip",
    {"image_size": 112, "frames": 16, "crop": "random", "min_area": 0.4, "flip": True, **_VIDEO},
    recipe="actions",
    module="tensorflow_datasets.video.ucf101",
    programs=("ffmpeg",),
  ),
  "digit_scenes": DatasetSpec(
    "digit_scenes",
    "scene",
    {"image_size": 64, "shift": 0.1, "zoom": 0.1},
    recipe="scenes",
    embedded=True,
    published="oxford_iiit_pet",
  ),
  "oxford_iiit_pet": DatasetSpec(
    "oxford_iiit_pet",
    "scene",
    {"image_size": 224, "crop": "random", "min_area": 0.25, "flip": True},
    recipe="pets",
    class_names=("pet", "background", "border"),
    first_label=1,
  ),
}


@functools.cache
def read_class_names(file: str) -> dict[str, str]:
  """Reads a file of `DatasetSpec.class_names_file`: {name in TFDS: name in English}.

  Example:
    >>> from cnn_zoo.data.specs import read_class_names
    >>> read_class_names("imagenet_classes.txt")["n01440764"]
    'tench'
  """
  lines = importlib.resources.files("cnn_zoo.data").joinpath(file).read_text(encoding="utf-8").splitlines()
  return dict(line.split(" ", 1) for line in lines if not line.startswith("#"))

"""The datasets by name, each a TFDS builder whose ArrayRecord files are read without TensorFlow."""

import dataclasses
import importlib
import os
from collections.abc import Sequence
from typing import NamedTuple

from cnn_zoo.data import embedded
from cnn_zoo.data.stand_ins import stand_ins
from cnn_zoo.errors import UserError, check_name

# name: (TFDS name, split to train on, split to test on, kind)
DATASETS = {
  "digits": ("digits", "train", "test", "image"),
  "mnist": ("mnist", "train", "test", "image"),
  "fashion_mnist": ("fashion_mnist", "train", "test", "image"),
  "cifar10": ("cifar10", "train", "test", "image"),
  "cifar100": ("cifar100", "train", "test", "image"),
  "imagenet": ("imagenet2012", "train", "validation", "image"),
  "imagenette": ("imagenette/320px-v2", "train", "validation", "image"),
  "waveforms": ("waveforms", "train", "test", "waveform"),
  "speech_commands": ("speech_commands", "train", "test", "waveform"),
  "moving_digits": ("moving_digits", "train", "test", "clip"),
  "ucf101": ("ucf101/ucf101_1", "train", "test", "clip"),  # the first of its three ways to split
  "digit_scenes": ("digit_scenes", "train", "test", "scene"),
  "oxford_iiit_pet": ("oxford_iiit_pet", "train", "test", "scene"),
}

# What the labels of each kind are: one class, or one for each pixel.
TASKS = {"image": "classification", "waveform": "classification", "clip": "classification", "scene": "segmentation"}

# The feature of a record that has pixels.
PIXELS = {"image": "image", "clip": "video", "scene": "image"}

# Samples in a second.
SAMPLE_RATES = {"waveforms": 8000, "speech_commands": 16000}

# Modules of TFDS whose builders it does not find by itself.
MODULES = {"ucf101": "tensorflow_datasets.video.ucf101"}

# Scenes whose masks TFDS has no names for: those of the classes, and the value of the first of them in a mask.
MASKS = {"oxford_iiit_pet": (("pet", "background", "border"), 1)}

# Archives that TFDS cannot download, by dataset; a person puts them into the manual directory.
ARCHIVES = {"imagenet": ("ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar")}


class DatasetInfo(NamedTuple):
  """What a model is built from, and what names its outputs.

  Attributes:
    num_classes: number of classes.
    channels: of an image, clip or scene, 3 (RGB) or 1 (grayscale); of a waveform 1.
    task: "classification" or "segmentation".
    kind: "image", "waveform", "clip" or "scene".
    class_names: name of each class.
    sample_rate: of a waveform, samples in a second; of other kinds None.
  """

  num_classes: int
  channels: int
  task: str
  kind: str
  class_names: tuple[str, ...]
  sample_rate: int | None = None


@dataclasses.dataclass(frozen=True)
class Dataset:
  """A prepared dataset; `train` and `test` can be pickled.

  Attributes:
    name: its name in `list_datasets()`.
    num_classes: number of classes.
    channels: of an image, clip or scene, 3 (RGB) or 1 (grayscale); of a waveform 1.
    class_names: name of each class.
    train: random access to the training records, `{"image": encoded bytes, "label": int, ...}`; a waveform has "audio",
      int16 [samples], a clip "video", its encoded frames, and a scene "image" and "segmentation_mask", both encoded.
    test: the same for the test records (ImageNet's and Imagenette's validation set).
    num_train: number of training records.
    num_test: number of test records.
    kind: "image", "waveform", "clip" or "scene".
    first_label: of a scene, the value of the first class in a mask.
  """

  name: str
  num_classes: int
  channels: int
  class_names: tuple[str, ...]
  train: Sequence[dict]
  test: Sequence[dict]
  num_train: int
  num_test: int
  kind: str = "image"
  first_label: int = 0
  validation: Sequence[dict] | None = None
  num_validation: int = 0

  @property
  def task(self) -> str:
    """What the labels are: "classification" or "segmentation"."""
    return TASKS[self.kind]


class Records(Sequence):
  """The records of a split: images as they are encoded, audio and numbers as NumPy and Python have them.

  TFDS's own source can only be pickled with its builder, which is made again when a worker unpickles it; and to be
  made, a builder with audio or video asks for TensorFlow.
  """

  def __init__(self, source: Sequence[bytes], features):
    """`source` has the serialized records of TFDS `features`."""
    from tensorflow_datasets.core.example_parser import ExampleParserNp

    self._source = source
    self._parser = ExampleParserNp(features.get_serialized_info())
    self._decode_audio = features["audio"].decode_example_np if "audio" in features else None

  def __len__(self) -> int:
    return len(self._source)

  def __getitem__(self, index: int) -> dict:
    record = self._parser.parse_example(self._source[index])
    if self._decode_audio:
      record["audio"] = self._decode_audio(record["audio"])
    return record

  def __iter__(self):
    return (self[index] for index in range(len(self)))


def list_datasets() -> list[str]:
  """Names of all datasets that `open_dataset` knows, prepared or not."""
  return list(DATASETS)


def open_dataset(settings) -> Dataset:
  """Opens the dataset that `settings` (`config.data`) names; an embedded one is prepared on first use.

  Raises:
    UserError: the dataset is unknown, or is not prepared: the message says how to prepare it.
  """
  builder = _builder(settings)
  if settings.name in embedded.EMBEDDED and not is_prepared(builder):
    embedded.prepare(settings.name, data_directory(settings.directory))
    builder = _builder(settings)
  dataset = _open(settings.name, builder)
  if not settings.get("validation", 0.0):
    return dataset
  import numpy as np

  order = np.random.default_rng(0).permutation(dataset.num_train)
  held = round(settings.validation * dataset.num_train)
  part = lambda indices: _Part(dataset.train, sorted(indices.tolist()))
  return dataclasses.replace(
    dataset,
    train=part(order[held:]),
    validation=part(order[:held]),
    num_train=dataset.num_train - held,
    num_validation=held,
  )


class _Part(Sequence):
  def __init__(self, records, indices):
    self.records, self.indices = records, indices

  def __len__(self):
    return len(self.indices)

  def __getitem__(self, index):
    return self.records[self.indices[index]]


def dataset_info(settings, *, prepared: bool = True) -> DatasetInfo:
  """What is known of the dataset that `settings` (`config.data`) names, before it is opened.

  Args:
    settings: `config.data`.
    prepared: whether the dataset must be; TFDS knows all of one that is not, but for the names of some classes, which
      are their numbers then.

  Raises:
    UserError: as `open_dataset`.
  """
  return _info(settings.name, _builder(settings, prepared))


def _builder(settings, prepared=True):
  """The builder of a dataset; with `prepared` of one that is, or will be on first use."""
  check_name("data.name", settings.name, DATASETS)
  builder = make_builder(settings.name, data_directory(settings.directory))
  if prepared and not is_prepared(builder) and settings.name not in embedded.EMBEDDED:
    raise UserError(
      f"data.name={settings.name!r} is not prepared in {builder.data_dir_root}; run: {_command(settings.name, builder)}"
    )
  return builder


def _command(name: str, builder) -> str:
  command = f"python scripts/prepare_data.py {name} --directory={builder.data_dir_root}"
  archives = f" --manual_directory=DIR, with {' and '.join(ARCHIVES.get(name, ()))} in DIR"
  return command + archives if name in ARCHIVES else command


def data_directory(directory: str | None) -> str:
  """`directory`, or TFDS's default: $TFDS_DATA_DIR, else ~/tensorflow_datasets."""
  return os.path.expanduser(directory or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets")


def make_builder(name: str, directory: str):
  """The TFDS builder of a dataset of the table, over its files in `directory` where it is prepared."""
  import tensorflow_datasets as tfds  # takes a second

  if name in embedded.EMBEDDED:
    embedded.import_builder(name)
  if name in MODULES:
    importlib.import_module(MODULES[name])
  with stand_ins():  # the types of audio and video are TensorFlow's
    return tfds.builder(DATASETS[name][0], data_dir=directory)


def is_prepared(builder) -> bool:
  """Whether a builder's files are there; TFDS renames them into place when they are complete."""
  return (builder.data_path / "dataset_info.json").exists()


def _info(name: str, builder) -> DatasetInfo:
  kind = DATASETS[name][3]
  features = builder.info.features
  class_names = MASKS[name][0] if name in MASKS else features["segmentation_mask" if kind == "scene" else "label"].names
  return DatasetInfo(
    num_classes=len(class_names),
    channels=1 if kind == "waveform" else features[PIXELS[kind]].shape[-1],
    task=TASKS[kind],
    kind=kind,
    class_names=tuple(class_names),
    sample_rate=SAMPLE_RATES.get(name),
  )


def _open(name: str, builder) -> Dataset:
  splits = DATASETS[name][1:3]
  try:
    sources = [builder.as_data_source(split, file_format="array_record") for split in splits]
  except (NotImplementedError, ValueError) as error:  # prepared by other means, as TFRecords or without a split
    problem = f"is no ArrayRecord dataset with the splits {' and '.join(splits)}"
    raise UserError(
      f"data.name={name!r}: {builder.data_path} {problem}; delete it and run: {_command(name, builder)}"
    ) from error
  train, test = (Records(source.data_source, builder.info.features) for source in sources)
  info = _info(name, builder)
  return Dataset(
    name=name,
    num_classes=info.num_classes,
    channels=info.channels,
    class_names=info.class_names,
    train=train,
    test=test,
    num_train=len(train),
    num_test=len(test),
    kind=info.kind,
    first_label=MASKS[name][1] if name in MASKS else 0,
  )

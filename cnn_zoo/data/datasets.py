"""The datasets by name, each a TFDS builder whose ArrayRecord files are read without TensorFlow."""

import dataclasses
import os
from collections.abc import Sequence

from cnn_zoo.errors import UserError, check_name

# name: (TFDS name, split to train on, split to test on)
DATASETS = {
  "digits": ("digits", "train", "test"),
  "mnist": ("mnist", "train", "test"),
  "fashion_mnist": ("fashion_mnist", "train", "test"),
  "cifar10": ("cifar10", "train", "test"),
  "cifar100": ("cifar100", "train", "test"),
  "imagenet": ("imagenet2012", "train", "validation"),
  "imagenette": ("imagenette/320px-v2", "train", "validation"),
}

# Archives that TFDS cannot download, by dataset; a person puts them into the manual directory.
ARCHIVES = {"imagenet": ("ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar")}


@dataclasses.dataclass(frozen=True)
class Dataset:
  """A prepared dataset; `train` and `test` can be pickled.

  Attributes:
    name: its name in `list_datasets()`.
    num_classes: number of classes.
    channels: 3 (RGB) or 1 (grayscale).
    class_names: name of each class.
    train: random access to the training records, `{"image": encoded bytes, "label": int, ...}`.
    test: the same for the test records (ImageNet's and Imagenette's validation set).
    num_train: number of training records.
    num_test: number of test records.
  """

  name: str
  num_classes: int
  channels: int
  class_names: tuple[str, ...]
  train: Sequence[dict]
  test: Sequence[dict]
  num_train: int
  num_test: int


def list_datasets() -> list[str]:
  """Names of all datasets that `open_dataset` knows, prepared or not."""
  return list(DATASETS)


def open_dataset(settings) -> Dataset:
  """Opens the dataset that `settings` (`config.data`) names; the embedded `digits` is prepared on first use.

  Raises:
    UserError: the dataset is unknown, or is not prepared: the message says how to prepare it.
  """
  builder = _builder(settings)
  if settings.name == "digits" and not is_prepared(builder):
    from cnn_zoo.data import digits

    digits.prepare(data_directory(settings.directory))
    builder = _builder(settings)
  return _open(settings.name, builder)


def _builder(settings, prepared=True):
  """The builder of a dataset; with `prepared` of one that is, or will be on first use."""
  check_name("data.name", settings.name, DATASETS)
  builder = make_builder(settings.name, data_directory(settings.directory))
  if prepared and not is_prepared(builder) and settings.name != "digits":
    raise UserError(
      f"data.name={settings.name!r} is not prepared in {builder.data_dir_root}; run: {_command(settings.name, builder)}"
    )
  return builder


def _command(name: str, builder) -> str:
  command = f"python scripts/prepare_data.py {name} --directory={builder.data_dir_root}"
  archives = f" --manual_directory=DIR, with {' and '.join(ARCHIVES.get(name, ()))} in DIR"
  return command + archives if name in ARCHIVES else command


def dataset_shape(settings, *, prepared: bool = True) -> tuple[int, int]:
  """(num_classes, channels) of the dataset that `settings` names, which a model can be built for before it is opened.

  Args:
    prepared: whether the dataset must be; TFDS knows both of one that is not.

  Raises:
    UserError: as `open_dataset`.
  """
  builder = _builder(settings, prepared)
  return builder.info.features["label"].num_classes, builder.info.features["image"].shape[-1]


def data_directory(directory: str | None) -> str:
  """`directory`, or TFDS's default: $TFDS_DATA_DIR, else ~/tensorflow_datasets."""
  return os.path.expanduser(directory or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets")


def make_builder(name: str, directory: str):
  """The TFDS builder of a dataset of the table, over its files in `directory` where it is prepared."""
  import tensorflow_datasets as tfds  # takes a second

  if name == "digits":
    import cnn_zoo.data.digits  # noqa: F401  TFDS registers a builder when its class is made

  return tfds.builder(DATASETS[name][0], data_dir=directory)


def is_prepared(builder) -> bool:
  """Whether a builder's files are there; TFDS renames them into place when they are complete."""
  return (builder.data_path / "dataset_info.json").exists()


def _open(name: str, builder) -> Dataset:
  import tensorflow_datasets as tfds

  splits = DATASETS[name][1:]
  decoders = {"image": tfds.decode.SkipDecoding()}
  try:
    train, test = (builder.as_data_source(split, decoders=decoders) for split in splits)
  except (NotImplementedError, ValueError) as error:  # prepared by other means, as TFRecords or without a split
    problem = f"is no ArrayRecord dataset with the splits {' and '.join(splits)}"
    raise UserError(
      f"data.name={name!r}: {builder.data_path} {problem}; delete it and run: {_command(name, builder)}"
    ) from error
  label = builder.info.features["label"]
  return Dataset(
    name=name,
    num_classes=label.num_classes,
    channels=builder.info.features["image"].shape[-1],
    class_names=tuple(label.names),
    train=train,
    test=test,
    num_train=len(train),
    num_test=len(test),
  )

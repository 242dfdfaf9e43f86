"""Opening datasets: each is a TFDS builder whose ArrayRecord files are read without TensorFlow."""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from cnn_zoo.data.builders import data_directory, is_prepared, make_builder, prepare_command
from cnn_zoo.data.kinds import KINDS
from cnn_zoo.data.prepare import prepare_embedded
from cnn_zoo.data.specs import SPECS, read_class_names
from cnn_zoo.data.tfds_internals import record_parser
from cnn_zoo.errors import UserError, check_name


class DatasetInfo(NamedTuple):
  """What a model is built from, and what names its outputs.

  Example:
    >>> from cnn_zoo.data import DatasetInfo
    >>> info = DatasetInfo(2, 1, "classification", "image", ("cat", "dog"))
    >>> info.channels, info.class_names[1]
    (1, 'dog')

  Attributes:
    num_classes: number of classes.
    channels: of an image, clip or scene, 3 (RGB) or 1 (grayscale); of a waveform 1.
    task: "classification" or "segmentation".
    kind: "image", "waveform", "clip" or "scene".
    class_names: name of each class.
    sample_rate: of a waveform, samples in a second; of other kinds None.
    first_label: of a scene, the value of the first class in a mask; of other kinds 0.
  """

  num_classes: int
  channels: int
  task: str
  kind: str
  class_names: tuple[str, ...]
  sample_rate: int | None = None
  first_label: int = 0


@dataclasses.dataclass(frozen=True)
class Dataset:
  """A prepared dataset, which can be pickled.

  Example:
    >>> import ml_collections
    >>> from cnn_zoo import data
    >>> settings = ml_collections.ConfigDict({"name": "digits", "directory": None, "validation": 0.1})
    >>> digits = data.open_dataset(settings)
    >>> digits.num_train, digits.num_validation, digits.num_test
    (1293, 144, 360)
    >>> sorted(digits.validation[0])
    ['image', 'label']

  Attributes:
    name: its name in `list_datasets()`.
    info: its classes, channels and kind.
    train: random access to the records to train on, `{"image": encoded bytes, "label": int, ...}`; a waveform has
      "audio", int16 [samples], a clip "video", its encoded frames, and a scene "image" and "segmentation_mask", both
      encoded.
    test: the records whose metrics are reported (ImageNet's and Imagenette's validation set).
    validation: the records that choose the best checkpoint; None if there are none.
  """

  name: str
  info: DatasetInfo
  train: Sequence[dict]
  test: Sequence[dict]
  validation: Sequence[dict] | None = None

  @property
  def num_train(self) -> int:
    """Number of records to train on."""
    return len(self.train)

  @property
  def num_test(self) -> int:
    """Number of test records."""
    return len(self.test)

  @property
  def num_validation(self) -> int:
    """Number of validation records."""
    return 0 if self.validation is None else len(self.validation)


class Records(Sequence):
  """The records of a split: images as they are encoded, audio and numbers as NumPy and Python have them.

  TFDS's own source can only be pickled with its builder, which is made again when a worker unpickles it; and a builder
  with audio or video asks for TensorFlow when it is made.
  """

  def __init__(self, source: Sequence[bytes], features):
    """`source` has the serialized records of TFDS `features`."""
    self._source = source
    self._parse = record_parser(features)

  def __len__(self) -> int:
    return len(self._source)

  def __getitem__(self, index) -> Any:
    return self._parse(self._source[index])

  def __iter__(self):
    return (self[index] for index in range(len(self)))


class Part(Sequence):
  """The part of `records` that a validation split holds out, or the rest.

  Attributes:
    indices: int [examples], the numbers of its records in `records`, ascending.
  """

  def __init__(self, records: Sequence[dict], share: float, held_out: bool):
    """`share` is that of `held_out_indices`; the part is what is held out if `held_out`, else the rest."""
    self._arguments = records, share, held_out
    indices = held_out_indices(len(records), share)
    self._records = records
    self.indices = indices if held_out else np.setdiff1d(np.arange(len(records)), indices, assume_unique=True)

  def __reduce__(self):
    return Part, self._arguments  # the indices are computed again, so that sending a dataset to workers is quick

  def __len__(self) -> int:
    return len(self.indices)

  def __getitem__(self, index) -> Any:
    return self._records[int(self.indices[index])]

  def __iter__(self):
    return (self[index] for index in range(len(self)))


def held_out_indices(number: int, share: float) -> np.ndarray:
  """The training records that are held out for validation.

  The choice is pseudo-random and fixed: it depends on the number of records and on the share, not on the seed of a run,
  the number of processes or anything else. A larger share holds out the same records and more. Classes are about as
  frequent in both parts. Records that belong together, such as clips of one video of UCF101, may be in both.

  Example:
    >>> from cnn_zoo.data.datasets import held_out_indices
    >>> held_out_indices(10, 0.2).tolist()
    [1, 8]

  Args:
    number: of training records.
    share: of them to hold out, above 0 and below 1.

  Returns:
    int [max(1, round(share * number))], ascending.

  Raises:
    UserError: nothing would be left to train on.
  """
  chosen = max(1, round(share * number))
  if chosen >= number:
    raise UserError(f"config.data.validation={share} leaves none of {number} training examples; valid: a smaller share")
  # `Generator.random` alone: NumPy promises to keep the bits of PCG64, while its other distributions may change.
  order = np.argsort(np.random.default_rng(list(b"validation")).random(number), kind="stable")
  return np.sort(order[:chosen])


def list_datasets() -> list[str]:
  """Names of all datasets that `open_dataset` knows, prepared or not.

  Example:
    >>> from cnn_zoo import data
    >>> data.list_datasets()[:4]
    ['digits', 'mnist', 'fashion_mnist', 'cifar10']
  """
  return list(SPECS)


def open_dataset(settings) -> Dataset:
  """Opens a dataset; an embedded one is prepared on first use.

  Example:
    >>> import ml_collections
    >>> from cnn_zoo import data
    >>> settings = ml_collections.ConfigDict({"name": "digits", "directory": None, "validation": 0.0})
    >>> digits = data.open_dataset(settings)
    >>> digits.train[0]["label"], digits.num_train, digits.num_validation
    (0, 1437, 0)

  Args:
    settings: `config.data`, of which `name`, `directory` and `validation` are read. `validation` is the share of the
      training records that is held out, see `held_out_indices`; 0 for no validation records. If the dataset comes with
      a validation split besides its test split, any share above 0 stands for that split.

  Returns:
    Its records and its `info`.

  Raises:
    UserError: the dataset is unknown, or is not prepared: the message has the command that prepares it.
  """
  spec, builder = _spec_and_builder(settings)
  if spec.embedded and not is_prepared(builder):
    prepare_embedded(settings.name, data_directory(settings.directory))
    builder = make_builder(settings.name, data_directory(settings.directory))
  splits = [spec.train, spec.test, *([spec.validation] if spec.validation and settings.validation else [])]
  try:
    sources = [builder.as_data_source(split, file_format="array_record") for split in splits]
  except (NotImplementedError, ValueError) as error:  # prepared by other means, as TFRecords or without a split
    problem = f"is no ArrayRecord dataset with the splits {' and '.join(splits)}"
    command = prepare_command(settings.name, builder.data_dir_root)
    raise UserError(
      f"config.data.name={settings.name!r}: {builder.data_path} {problem}; delete it and run: {command}"
    ) from error
  train, test, *rest = (Records(source.data_source, builder.info.features) for source in sources)
  validation = rest[0] if rest else None
  if settings.validation and not rest:
    train, validation = (Part(train, settings.validation, held_out) for held_out in (False, True))
  return Dataset(settings.name, _info(settings.name, builder), train, test, validation)


def dataset_info(settings, *, prepared: bool = True) -> DatasetInfo:
  """What is known of a dataset before it is opened.

  Example:
    >>> import ml_collections
    >>> from cnn_zoo import data
    >>> settings = ml_collections.ConfigDict({"name": "imagenet", "directory": None})
    >>> data.dataset_info(settings, prepared=False).class_names[:2]
    ('tench', 'goldfish')

  Args:
    settings: `config.data`, of which `name` and `directory` are read.
    prepared: whether the dataset must be prepared. TFDS does not know the class names of some datasets before; then
      they are the numbers of the classes.

  Returns:
    Its classes, channels and kind.

  Raises:
    UserError: as `open_dataset`.
  """
  _, builder = _spec_and_builder(settings, prepared)
  return _info(settings.name, builder)


def _spec_and_builder(settings, prepared=True):
  """The spec and the builder of a dataset; if `prepared`, it must be prepared, or be on first use."""
  check_name("config.data.name", settings.name, SPECS)
  spec = SPECS[settings.name]
  builder = make_builder(settings.name, data_directory(settings.directory))
  if prepared and not is_prepared(builder) and not spec.embedded:
    root = builder.data_dir_root
    raise UserError(
      f"config.data.name={settings.name!r} is not prepared in {root}; run: {prepare_command(settings.name, root)}"
    )
  return spec, builder


def _info(name: str, builder) -> DatasetInfo:
  spec, features = SPECS[name], builder.info.features
  kind = KINDS[spec.kind]
  class_names = spec.class_names or features[kind.LABEL].names
  if spec.class_names_file:
    english = read_class_names(spec.class_names_file)
    class_names = [english[class_name] for class_name in class_names]
  return DatasetInfo(
    num_classes=len(class_names),
    channels=kind.channels(features),
    task=kind.TASK,
    kind=spec.kind,
    class_names=tuple(class_names),
    sample_rate=spec.sample_rate,
    first_label=spec.first_label,
  )

"""Batches of a dataset, in an order that depends on the seed alone: not on processes, workers or interruptions.

A stream numbers the examples of all epochs, one after the other. Global batch `b` consists of the positions from
b * batch_size up to (b + 1) * batch_size, of which every process takes its contiguous share: the batches of the
processes, concatenated, are the batch of a single process. The augmentation of an example depends on the seed, its
epoch and its record. So the number of the next batch is the whole state of a stream.
"""

import contextlib
import functools
import multiprocessing
import os
import signal
import threading
import types
from collections.abc import Callable, Iterable, Iterator

import grain
import jax
import numpy as np
from absl import flags

from cnn_zoo.data.datasets import Dataset, DatasetInfo, Part
from cnn_zoo.data.decode import CorruptRecordError
from cnn_zoo.data.kinds import KINDS
from cnn_zoo.errors import UserError, check_name

# More batches than any run takes: 2^40.
ENDLESS = 1 << 40


def train_batches(
  dataset: Dataset,
  settings,
  *,
  seed: int,
  batch_size: int,
  start: int = 0,
  process_index: int = 0,
  process_count: int = 1,
) -> grain.DatasetIterator:
  """Endless augmented batches; every epoch is a permutation of `dataset.train`, and batches run across epochs.

  Example:
    >>> from cnn_zoo import data
    >>> from configs import base
    >>> settings = base.get_config("lenet5", "digits").data
    >>> batches = data.train_batches(data.open_dataset(settings), settings, seed=0, batch_size=4)
    >>> batch = next(batches)
    >>> batch["input"].shape, batch["label"].shape
    ((4, 32, 32, 1), (4,))
    >>> batches.close()

  Args:
    dataset: an open dataset.
    settings: `config.data`, within the ranges that `cnn_zoo.training.settings` checks; `workers` processes decode and
      augment, or if 0, threads of this process.
    seed: of order and augmentation, at least 0.
    batch_size: examples in a global batch.
    start: number of the first global batch to yield.
    process_index: which share of every batch to yield.
    process_count: number of shares.

  Returns:
    An iterator over `{"input": [examples, ...], "label": [examples, ...], "mask": bool [examples]}`, of as many
    examples as the share has, in the shapes and dtypes of `batch_shapes`. Its state, `{"next_batch": int}`, is the same
    on all processes, and any number of processes and workers can continue from it. `next` raises CorruptRecordError if
    a record of the batch is broken, each time it is called; to skip the batch, set the state to the next one. `close`
    ends the workers.

  Raises:
    UserError: `batch_size` is not a multiple of `process_count`.
  """
  settings = _check(settings, batch_size, process_count)
  if seed < 0:
    raise UserError(f"seed={seed} must be at least 0")
  # Grain shuffles epoch e with seed + e; hashed first, so that the epochs of seed 1 are not those of seed 0, one later.
  order_seed = int(np.random.SeedSequence(seed).generate_state(1)[0])
  order = grain.MapDataset.range(dataset.num_train).shuffle(order_seed).repeat()
  load = functools.partial(_train_example, dataset, settings, seed, order)
  share = (batch_size, process_index, process_count)
  return _Stream(lambda first: _read(load, first, share, settings.workers), start)


def evaluation_batches(
  dataset: Dataset,
  settings,
  *,
  split: str,
  batch_size: int,
  process_index: int = 0,
  process_count: int = 1,
) -> Iterable[dict]:
  """The validation or test records in order, once: every example is in exactly one batch of one process.

  Every process yields the same number of batches, ceil(examples / batch_size), of the same shape. The last batch is
  filled up with zeros whose mask is False; there, label maps have 255.

  Example:
    >>> from cnn_zoo import data
    >>> from configs import base
    >>> settings = base.get_config("lenet5", "digits").data
    >>> digits = data.open_dataset(settings)
    >>> batches = data.evaluation_batches(digits, settings, split="test", batch_size=100)
    >>> [int(batch["mask"].sum()) for batch in batches]
    [100, 100, 100, 60]

  Args:
    dataset: an open dataset.
    settings: `config.data`.
    split: "validation" or "test".
    batch_size: examples in a global batch.
    process_index: which share of every batch to yield.
    process_count: number of shares.

  Returns:
    An iterable, which can be iterated over many times, over batches as those of `train_batches`; its `len` is the
    number of batches.

  Raises:
    UserError: as `train_batches`; or the dataset has no such split.
  """
  settings = _check(settings, batch_size, process_count)
  check_name("split", split, ("validation", "test"))
  records = getattr(dataset, split)
  if records is None:
    raise UserError(f"split={split!r} is empty: dataset {dataset.name!r} was opened with config.data.validation=0")
  load = functools.partial(_evaluation_example, dataset, split, settings)
  num_batches = -(-len(records) // batch_size)
  share = (batch_size, process_index, process_count)
  workers = min(settings.workers, num_batches)
  return _FirstBatches(lambda first: _read(load, first, share, workers), num_batches)


def batch_shapes(settings, batch_size: int, info: DatasetInfo) -> dict[str, jax.ShapeDtypeStruct]:
  """Shapes and dtypes of a batch of `batch_size`, before the dataset is open.

  "input" is uint8 [batch, image_size, image_size, channels] of images and scenes, with `frames` in front of clips, and
  int16 [batch, samples, 1] of waveforms. "label" is int32 [batch], of scenes uint8 [batch, image_size, image_size] with
  255 where there is no label. "mask" is bool [batch], False for examples that only fill up a batch.

  Example:
    >>> from cnn_zoo import data
    >>> from configs import base
    >>> settings = base.get_config("m5", "waveforms").data
    >>> data.batch_shapes(settings, 4, data.dataset_info(settings))["input"]
    ShapeDtypeStruct(shape=(4, 8000, 1), dtype=int16)

  Args:
    settings: `config.data`.
    batch_size: number of examples.
    info: of the dataset.

  Returns:
    {"input", "label", "mask"}, as `jax.ShapeDtypeStruct`.
  """
  inputs, label = KINDS[info.kind].shapes(settings, info.channels)
  example = {"input": inputs, "label": label, "mask": jax.ShapeDtypeStruct((), np.bool_)}
  return {name: jax.ShapeDtypeStruct((batch_size, *x.shape), x.dtype) for name, x in example.items()}


def input_shape(settings, info: DatasetInfo) -> tuple[int, ...]:
  """Shape of one example's input, [*spatial, channels].

  Example:
    >>> from cnn_zoo import data
    >>> from configs import base
    >>> settings = base.get_config("lenet5", "digits").data
    >>> data.input_shape(settings, data.dataset_info(settings))
    (32, 32, 1)

  Args:
    settings: `config.data`.
    info: of the dataset.

  Returns:
    Its length along every axis.
  """
  return KINDS[info.kind].shapes(settings, info.channels)[0].shape


def size_fields(kind: str) -> tuple[str, ...]:
  """The field of `config.data` with the length of each spatial axis of an input.

  Example:
    >>> from cnn_zoo import data
    >>> data.size_fields("clip")
    ('frames', 'image_size', 'image_size')

  Args:
    kind: a key of `KINDS`.

  Returns:
    A field for each axis; axes may have the same one.
  """
  return KINDS[kind].SIZES


def _check(settings, batch_size: int, process_count: int) -> types.SimpleNamespace:
  """A copy of `settings`: a plain object that is quick to read and to send to workers."""
  if batch_size < 1 or batch_size % process_count:
    raise UserError(f"batch_size={batch_size} must be a multiple of the number of processes, {process_count}")
  return types.SimpleNamespace(**settings)


def _read(load: Callable[[int], dict], first: int, share: tuple[int, int, int], workers: int) -> grain.DatasetIterator:
  """The share of one process in the global batches from `first` on; `load(position)` makes an example of the stream."""
  batch_size, process_index, process_count = share
  rows = batch_size // process_count

  def load_row(row: int) -> dict:
    batch, offset = divmod(row, rows)
    return load(batch * batch_size + process_index * rows + offset)

  batches = grain.MapDataset.range(first * rows, ENDLESS * rows).map(load_row).batch(rows)
  # A thread makes a whole batch, and as many batches as there are threads are made in advance. Workers need no threads:
  # Grain gives worker w of W the batches w, w + W, ... and takes them in turn.
  threads = 0 if workers else min(4, os.cpu_count() or 1)
  batches = batches.to_iter_dataset(grain.ReadOptions(num_threads=threads, prefetch_buffer_size=threads))
  if not workers:
    return iter(batches)
  if not flags.FLAGS.is_parsed():
    flags.FLAGS.mark_as_parsed()  # Grain reads its flags here, which are not parsed outside absl.app.run
  options = grain.MultiprocessingOptions(num_workers=workers)
  return iter(batches.mp_prefetch(options, worker_init_fn=_leave_signals_to_parent).map(_out_of_shared_memory))


def _leave_signals_to_parent(*_) -> None:
  """Lets a worker live as long as its parent, which may need more batches after Ctrl-C or a termination signal."""
  signal.signal(signal.SIGINT, signal.SIG_IGN)
  signal.signal(signal.SIGTERM, signal.SIG_IGN)

  parent = multiprocessing.parent_process()
  if parent is None:
    raise RuntimeError("not a worker")

  def follow_parent() -> None:
    parent.join()
    os._exit(1)  # a killed parent cannot end its workers, and Grain's loop does not end by itself

  threading.Thread(target=follow_parent, daemon=True).start()


def _out_of_shared_memory(batch: dict) -> dict:
  """Copies of Grain's arrays, which occupy /dev/shm as long as they are referenced, and warn if that is until exit."""
  return {name: np.array(values) for name, values in batch.items()}


def _train_example(dataset: Dataset, settings: types.SimpleNamespace, seed: int, order, position: int) -> dict:
  epoch, record = position // dataset.num_train, order[position]
  return _example(dataset, "train", record, settings, np.random.default_rng([seed, epoch, record]))


def _evaluation_example(dataset: Dataset, split: str, settings: types.SimpleNamespace, position: int) -> dict:
  if position < len(getattr(dataset, split)):
    return _example(dataset, split, position, settings)
  kind = KINDS[dataset.info.kind]
  inputs, label = kind.shapes(settings, dataset.info.channels)
  no_label = np.full(label.shape, kind.NO_LABEL, label.dtype)
  return {"input": np.zeros(inputs.shape, inputs.dtype), "label": no_label, "mask": np.False_}


def _example(
  dataset: Dataset,
  split: str,
  record: int,
  settings: types.SimpleNamespace,
  rng: np.random.Generator | None = None,
) -> dict:
  records = getattr(dataset, split)
  try:
    inputs, label = KINDS[dataset.info.kind].make_example(records[record], dataset.info, settings, rng)
  except Exception as error:  # the array_record library and protobuf have errors of their own for broken files
    if isinstance(records, Part):  # what people find in the files
      split, record = "train", records.indices[record]
    problem = f"record {record} of dataset {dataset.name!r}, split {split!r}, cannot be read"
    raise CorruptRecordError(f"{problem}: {error}") from error
  return {"input": inputs, "label": label, "mask": np.True_}


class _Stream(grain.DatasetIterator):
  """The batches from number `start` on; `open_at(first)` gives Grain's iterator over those from `first` on.

  Grain's own state says where each worker stands, which another number of workers could not use.
  """

  def __init__(self, open_at: Callable[[int], grain.DatasetIterator], start: int = 0):
    super().__init__()
    self._open_at = open_at
    self._next_batch = start
    self._batches: grain.DatasetIterator | None = None

  def __next__(self) -> dict:
    batches = self._opened()
    try:
      batch = next(batches)
    except BaseException:
      self._stop()  # so that the next call starts at the same batch
      raise
    self._next_batch += 1
    return batch

  def get_state(self) -> dict:
    return {"next_batch": self._next_batch}

  def set_state(self, state: dict) -> None:
    self._stop()
    self._next_batch = int(state["next_batch"])

  def start_prefetch(self) -> None:
    self._opened()

  def close(self) -> None:
    self._stop()
    self._closed = True

  def _opened(self) -> grain.DatasetIterator:
    self._assert_not_closed()
    if self._batches is None:
      self._batches = self._open_at(self._next_batch)
      self._batches.start_prefetch()
    return self._batches

  def _stop(self) -> None:
    if self._batches is not None:
      self._batches.close()
    self._batches = None


class _FirstBatches:
  """The first `num_batches` of an endless stream, each time it is iterated over."""

  def __init__(self, open_at: Callable[[int], grain.DatasetIterator], num_batches: int):
    self._open_at = open_at
    self._num_batches = num_batches

  def __len__(self) -> int:
    return self._num_batches

  def __iter__(self) -> Iterator[dict]:
    with contextlib.closing(self._open_at(0)) as batches:
      for _ in range(self._num_batches):
        yield next(batches)

"""Datasets and their batches: `open_dataset(config.data)`, then `train_batches` and `evaluation_batches`."""

from cnn_zoo.data.batches import batch_shapes, evaluation_batches, input_shape, size_fields, train_batches
from cnn_zoo.data.datasets import Dataset, DatasetInfo, dataset_info, list_datasets, open_dataset
from cnn_zoo.data.decode import CorruptRecordError
from cnn_zoo.data.kinds import KINDS
from cnn_zoo.data.specs import SPECS, DatasetSpec

__all__ = [
  "KINDS",
  "SPECS",
  "CorruptRecordError",
  "Dataset",
  "DatasetInfo",
  "DatasetSpec",
  "batch_shapes",
  "dataset_info",
  "evaluation_batches",
  "input_shape",
  "list_datasets",
  "open_dataset",
  "size_fields",
  "train_batches",
]

"""Datasets and their batches: `open_dataset(config.data)`, then `train_batches` and `test_batches`."""

from cnn_zoo.data.batches import batch_shapes, evaluation_batches, input_shape, size_fields, test_batches, train_batches
from cnn_zoo.data.datasets import DATASETS, Dataset, DatasetInfo, dataset_info, list_datasets, open_dataset
from cnn_zoo.data.decode import CorruptRecordError

__all__ = [
  "DATASETS",
  "CorruptRecordError",
  "Dataset",
  "DatasetInfo",
  "batch_shapes",
  "dataset_info",
  "evaluation_batches",
  "input_shape",
  "list_datasets",
  "open_dataset",
  "size_fields",
  "test_batches",
  "train_batches",
]

"""Datasets and their batches: `open_dataset(config.data)`, then `train_batches` and `test_batches`."""

from cnn_zoo.data.batches import batch_shapes, test_batches, train_batches
from cnn_zoo.data.datasets import Dataset, dataset_shape, list_datasets, open_dataset
from cnn_zoo.data.decode import CorruptRecordError

__all__ = [
  "CorruptRecordError",
  "Dataset",
  "batch_shapes",
  "dataset_shape",
  "list_datasets",
  "open_dataset",
  "test_batches",
  "train_batches",
]

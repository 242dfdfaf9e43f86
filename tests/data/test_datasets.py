import dataclasses
import importlib
import json
import pickle
import shutil
import subprocess
import sys

import numpy as np
import pytest

from cnn_zoo.data import (
  SPECS,
  CorruptRecordError,
  dataset_info,
  evaluation_batches,
  input_shape,
  list_datasets,
  open_dataset,
  train_batches,
)
from cnn_zoo.data.datasets import Part, Records, held_out_indices
from cnn_zoo.errors import UserError
from tests.helpers import ROOT
from tests.helpers.tiny_datasets import KINDS, make_dataset, make_settings


def test_digits(digits):
  assert (digits.name, digits.info.num_classes, digits.info.channels) == ("digits", 10, 1)
  assert digits.info.class_names == tuple("0123456789")
  assert (digits.num_train, digits.num_test) == (len(digits.train), len(digits.test)) == (1437, 360)


def test_sources_can_be_pickled(digits):
  train = pickle.loads(pickle.dumps(digits.train))
  assert train[1436] == digits.train[1436]
  assert len(pickle.dumps(digits)) < 10_000  # and quickly


# The first records of `digits` that are held out, a choice that never changes.
HELD_OUT = [0, 1, 8, 26, 42, 47, 58, 78]


def test_a_share_of_the_training_records_is_held_out(directory, digits):
  """Every training record is in one part, whatever is fixed stays fixed, and classes are about as frequent."""
  settings = make_settings(directory=directory, validation=0.1)
  dataset = open_dataset(settings)
  assert (dataset.num_train, dataset.num_validation, dataset.num_test) == (1293, 144, 360)
  assert (digits.validation, digits.num_validation) == (None, 0)
  held_out = dataset.validation.indices.tolist()
  assert held_out[:8] == HELD_OUT
  assert sorted([*held_out, *dataset.train.indices.tolist()]) == list(range(1437))
  for part in (dataset.train, dataset.validation):
    assert [part[5], part[-1]] == [digits.train[part.indices[5]], digits.train[part.indices[-1]]]
  assert list(dataset.test)[:3] == list(digits.test)[:3]
  counts = np.bincount([record["label"] for record in dataset.validation])
  assert len(counts) == 10 and counts.min() >= 7 and counts.max() <= 22


def test_a_larger_share_holds_out_the_same_records_and_more():
  small, large = (set(held_out_indices(1000, share).tolist()) for share in (0.1, 0.3))
  assert len(small) == 100 and len(large) == 300 and small < large
  assert len(held_out_indices(5, 0.01)) == 1
  with pytest.raises(UserError, match=r"config.data.validation=0.9 leaves none of 3 training examples"):
    held_out_indices(3, 0.9)


def test_a_dataset_with_parts_can_be_pickled(directory):
  dataset = open_dataset(make_settings(directory=directory, validation=0.1))
  data = pickle.dumps(dataset)
  assert len(data) < 10_000
  copy = pickle.loads(data)
  assert copy.validation[3] == dataset.validation[3] and copy.train.indices.tolist() == dataset.train.indices.tolist()


def test_corrupt_records_of_a_part_are_named_as_in_the_files():
  records = [*make_dataset(10).train]
  validation, train = (Part(records, 0.3, held_out) for held_out in (True, False))
  dataset = dataclasses.replace(make_dataset(10), train=train, validation=validation)
  for broken in (int(validation.indices[1]), int(train.indices[1])):
    records[broken]["image"] = b""
    with pytest.raises(CorruptRecordError, match=f"record {broken} of dataset 'tiny', split 'train', cannot be read"):
      list(evaluation_batches(dataset, make_settings(), split="validation", batch_size=3))
      next(train_batches(dataset, make_settings(), seed=0, batch_size=7))
    records[broken]["image"] = records[int(train.indices[0])]["image"]


def test_evaluation_of_either_split(directory):
  settings = make_settings(directory=directory, validation=0.1)
  dataset = open_dataset(settings)
  for split in ("validation", "test"):
    batches = list(evaluation_batches(dataset, settings, split=split, batch_size=100))
    labels = np.concatenate([batch["label"][batch["mask"]] for batch in batches])
    assert labels.tolist() == [record["label"] for record in getattr(dataset, split)]
  with pytest.raises(UserError, match="split='train' is not known; valid: test, validation"):
    evaluation_batches(dataset, settings, split="train", batch_size=100)
  without = make_dataset()
  with pytest.raises(UserError, match=r"split='validation' is empty: dataset 'tiny' was opened with config.data.val"):
    evaluation_batches(without, settings, split="validation", batch_size=100)


def test_names():
  assert {kind: [name for name in list_datasets() if SPECS[name].kind == kind] for kind in KINDS} == {
    "image": ["digits", "mnist", "fashion_mnist", "cifar10", "cifar100", "imagenette", "imagenet"],
    "waveform": ["waveforms", "speech_commands"],
    "clip": ["moving_digits", "ucf101"],
    "scene": ["digit_scenes", "oxford_iiit_pet"],
  }
  with pytest.raises(UserError, match=r"config.data.name='imagnet' is not known; did you mean imagenet"):
    open_dataset(make_settings(name="imagnet"))


@pytest.mark.parametrize(
  ("name", "num_classes", "channels", "task", "kind", "first_class", "sample_rate", "shape"),
  [
    ("digits", 10, 1, "classification", "image", "0", None, (8, 8, 1)),
    ("imagenet", 1000, 3, "classification", "image", "tench", None, (8, 8, 3)),
    ("waveforms", 10, 1, "classification", "waveform", "sine", 8000, (40, 1)),
    ("speech_commands", 12, 1, "classification", "waveform", "down", 16000, (40, 1)),
    ("moving_digits", 8, 1, "classification", "clip", "right", None, (3, 8, 8, 1)),
    ("ucf101", 101, 3, "classification", "clip", "ApplyEyeMakeup", None, (3, 8, 8, 3)),
    ("digit_scenes", 11, 3, "segmentation", "scene", "background", None, (8, 8, 3)),
    ("oxford_iiit_pet", 3, 3, "segmentation", "scene", "pet", None, (8, 8, 3)),
  ],
)
def test_what_is_known_before(tmp_path, name, num_classes, channels, task, kind, first_class, sample_rate, shape):
  """Of datasets that are not there, without TensorFlow, which the builders of audio and video ask for."""
  settings = make_settings(name=name, directory=str(tmp_path))
  info = dataset_info(settings, prepared=SPECS[name].embedded)
  assert info[:4] == (num_classes, channels, task, kind)
  assert (len(info.class_names), info.class_names[0], info.sample_rate) == (num_classes, first_class, sample_rate)
  assert input_shape(settings, info) == shape


@pytest.mark.parametrize(
  ("name", "sizes", "augmentation"),
  [
    ("waveforms", "WAVEFORMS", {"time_shift": 0.1, "noise": 0.1}),
    ("moving_digits", "CLIPS", {"shift": 0.1}),
    ("digit_scenes", "SCENES", {"shift": 0.1, "flip": True}),
  ],
)
def test_embedded_datasets_are_prepared_on_first_use(tmp_path, monkeypatch, name, sizes, augmentation):
  module = importlib.import_module(f"cnn_zoo.data.embedded.{name}")
  monkeypatch.setattr(module, sizes, {"train": 5, "test": 3})
  settings = make_settings(name=name, directory=str(tmp_path), **augmentation)
  info, dataset = dataset_info(settings), open_dataset(settings)
  assert (dataset.num_train, dataset.num_test, dataset.info.task) == (5, 3, info.task)
  assert dataset.info.class_names == info.class_names
  batch = next(train_batches(dataset, settings, seed=0, batch_size=5))
  assert batch["input"].shape == (5, *input_shape(settings, info)) and batch["input"].any()
  in_process, workers = (
    list(evaluation_batches(dataset, make_settings(**{**settings, "workers": workers}), split="test", batch_size=2))
    for workers in (0, 1)
  )
  for a, b in zip(in_process, workers, strict=True):
    np.testing.assert_equal(a, b)


def test_a_record_that_is_no_record(digits):
  class Features(dict):
    def get_serialized_info(self):
      return {}

  records = Records([b"no record"], Features())
  broken = dataclasses.replace(digits, train=records)
  with pytest.raises(CorruptRecordError, match="record 0 of dataset 'digits', split 'train', cannot be read: "):
    next(train_batches(broken, make_settings(), seed=0, batch_size=1))


@pytest.mark.parametrize("name", [name for name in list_datasets() if not SPECS[name].embedded])
def test_what_is_not_prepared_says_how_to(tmp_path, name):
  with pytest.raises(UserError) as error:
    open_dataset(make_settings(name=name, directory=str(tmp_path)))
  message = str(error.value)
  command = f"python scripts/prepare_data.py {name} --directory={tmp_path}"
  assert message.startswith(f"config.data.name='{name}' is not prepared in {tmp_path}; run: {command}")
  assert "\n" not in message
  archives = "ILSVRC2012_img_train.tar and ILSVRC2012_img_val.tar in DIR"
  assert (archives in message) == (name == "imagenet")


def test_the_directory_of_tfds_is_the_default(tmp_path, monkeypatch):
  monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
  with pytest.raises(UserError, match=f"is not prepared in {tmp_path}"):
    open_dataset(make_settings(name="mnist"))
  monkeypatch.delenv("TFDS_DATA_DIR")
  monkeypatch.setenv("HOME", str(tmp_path))
  with pytest.raises(UserError, match=f"is not prepared in {tmp_path}/tensorflow_datasets"):
    open_dataset(make_settings(name="mnist"))


@pytest.mark.parametrize("change", [{"fileFormat": "tfrecord"}, {"splits": "train"}])
def test_files_of_another_kind(tmp_path, digits, directory, change):
  """What a person prepared with TFDS itself, as TFRecords or without one of the splits."""
  shutil.copytree(directory, tmp_path, dirs_exist_ok=True)
  path = tmp_path / "digits" / "1.0.0" / "dataset_info.json"
  info = json.loads(path.read_text())
  if "splits" in change:
    change = {"splits": [split for split in info["splits"] if split["name"] == "train"]}
  path.write_text(json.dumps(info | change))
  with pytest.raises(UserError, match="is no ArrayRecord dataset with the splits train and test; delete it and run"):
    open_dataset(make_settings(directory=str(tmp_path)))


def test_import_is_quick():
  """TFDS and scikit-learn take a second each, which nothing but opening and preparing a dataset should wait for."""
  code = "import sys, cnn_zoo.data; print([name for name in ('tensorflow_datasets', 'sklearn') if name in sys.modules])"
  assert subprocess.check_output([sys.executable, "-c", code], cwd=ROOT, text=True) == "[]\n"

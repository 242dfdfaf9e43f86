import json
import pathlib
import pickle
import shutil
import subprocess
import sys

import pytest
from tiny_datasets import make_settings

from cnn_zoo.data import list_datasets, open_dataset
from cnn_zoo.errors import UserError

ROOT = pathlib.Path(__file__).parents[2]


def test_digits(digits):
  assert (digits.name, digits.num_classes, digits.channels) == ("digits", 10, 1)
  assert digits.class_names == tuple("0123456789")
  assert (digits.num_train, digits.num_test) == (len(digits.train), len(digits.test)) == (1437, 360)


def test_sources_can_be_pickled(digits):
  train = pickle.loads(pickle.dumps(digits.train))
  assert train[1436] == digits.train[1436]


def test_names():
  assert list_datasets() == ["digits", "mnist", "fashion_mnist", "cifar10", "cifar100", "imagenet", "imagenette"]
  with pytest.raises(UserError, match=r"data.name='imagnet' is not known; did you mean imagenet"):
    open_dataset(make_settings(name="imagnet"))


@pytest.mark.parametrize("name", [name for name in list_datasets() if name != "digits"])
def test_what_is_not_prepared_says_how_to(tmp_path, name):
  with pytest.raises(UserError) as error:
    open_dataset(make_settings(name=name, directory=str(tmp_path)))
  message = str(error.value)
  command = f"python scripts/prepare_data.py {name} --directory={tmp_path}"
  assert message.startswith(f"data.name='{name}' is not prepared in {tmp_path}; run: {command}")
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

"""Everything that can go wrong while a dataset is prepared; `test_builders` prepares them."""

import gzip
import re
import shutil
import struct

import numpy as np
import pytest
from tensorflow_datasets.core.download.util import DownloadError

from cnn_zoo.data.prepare import PreparationError, prepare_dataset
from cnn_zoo.data.specs import SPECS
from cnn_zoo.errors import UserError
from tests.helpers.archives import assert_nothing_is_left, tar, tar_bytes


def test_ucf101_needs_ffmpeg(tmp_path, manual, monkeypatch):
  monkeypatch.setenv("PATH", str(tmp_path))
  with pytest.raises(UserError, match="ucf101 can only be prepared with the program ffmpeg, which is not installed"):
    prepare_dataset("ucf101", str(tmp_path), str(manual))


def test_missing_archives(tmp_path, manual):
  (manual / "ILSVRC2012_img_train.tar").touch()
  with pytest.raises(UserError, match=f"imagenet needs ILSVRC2012_img_val.tar in {manual} .*https://image-net.org"):
    prepare_dataset("imagenet", str(tmp_path / "datasets"), str(manual))


def test_a_builder_that_needs_tensorflow(tmp_path, manual, monkeypatch):
  from tensorflow_datasets.image_classification import cifar

  (manual / "cifar-10-binary.tar.gz").write_bytes(tar_bytes(tmp_path / "empty.tar.gz", {}))
  monkeypatch.setattr(cifar.Cifar10, "_split_generators", lambda self, _: cifar.tf.signal.stft)
  with pytest.raises(UserError, match=r"cifar10 can only be prepared with TensorFlow installed, for tensorflow.signal"):
    prepare_dataset("cifar10", str(tmp_path), str(manual), accept_checksums=True)


CIFAR = "cifar-10-binary.tar.gz"


@pytest.mark.parametrize(
  ("name", "file", "data", "says"),
  [
    ("cifar10", CIFAR, b"nonsense", "not a gzip file"),
    ("cifar10", CIFAR, b"", "empty file"),
    ("cifar10", CIFAR, "cut", "Compressed file ended before the end-of-stream marker was reached"),
    ("cifar10", CIFAR, {"other.txt": b"text"}, "No such file or directory"),
    ("mnist", "train-images-idx3-ubyte.gz", gzip.compress(b"too short"), "cannot reshape array"),
    ("mnist", "train-images-idx3-ubyte.gz", b"nonsense", "Not a gzipped file"),
    ("imagenet", "ILSVRC2012_img_train.tar", b"nonsense", "truncated header"),
  ],
)
def test_broken_archives(name, file, data, says, tmp_path, manual, monkeypatch):
  for other in SPECS[name].archives or ["t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"]:
    tar(manual / other, {})
  if name == "mnist":
    (manual / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(struct.pack(">II", 2049, 6) + bytes(6)))
  if data == "cut":
    data = tar_bytes(manual / file, {"big": np.random.default_rng(0).bytes(10_000)})[:-1000]
  (manual / file).write_bytes(tar_bytes(manual / file, data) if isinstance(data, dict) else data)
  message = f"{name} cannot be prepared, because an archive is incomplete or not the expected one: .*{re.escape(says)}"
  with pytest.raises(UserError, match=message) as error:
    prepare_dataset(name, str(tmp_path / "datasets"), str(manual), accept_checksums=True)
  assert "\n" not in str(error.value)
  assert_nothing_is_left(tmp_path / "datasets")


def raising(error):
  def function(*_, **__):
    raise error

  return function


@pytest.mark.parametrize(
  ("module", "function", "error", "says"),
  [
    ("download.downloader", "_open_url", ConnectionError("no route to host"), "no route to host"),
    ("download.downloader", "_open_url", DownloadError("Failed to get url.\nHTTP code: 404"), "HTTP code: 404"),
    ("download.checksums", "compute_url_info", PermissionError(13, "Permission denied"), "Permission denied"),
    ("download.extractor", "_copy", OSError(28, "No space left on device"), "No space left on device"),
    ("writer", "Writer.write", OSError(28, "No space left on device"), "No space left on device"),
    ("utils", "has_sufficient_disk_space", OSError("Not enough disk space"), "Not enough disk space"),
  ],
)
def test_network_and_disk(module, function, error, says, tmp_path, manual, monkeypatch):
  if function != "_open_url":
    parts = ("test_batch", *(f"data_batch_{part}" for part in range(1, 6)))
    files = {f"cifar-10-batches-bin/{part}.bin": bytes(3073) for part in parts}
    names = "\n".join(map(str, range(10))).encode()
    tar(manual / CIFAR, {**files, "cifar-10-batches-bin/batches.meta.txt": names})
  monkeypatch.setattr(f"tensorflow_datasets.core.{module}.{function}", raising(error))
  with pytest.raises(PreparationError, match=f"cifar10 cannot be prepared in .*: .*{says}") as raised:
    prepare_dataset("cifar10", str(tmp_path / "datasets"), str(manual), accept_checksums=True)
  assert "\n" not in str(raised.value)
  assert_nothing_is_left(tmp_path / "datasets")


def test_a_full_disk_while_an_embedded_dataset_is_written(tmp_path, monkeypatch):
  monkeypatch.setattr(
    "tensorflow_datasets.core.writer.Writer.finalize", raising(OSError(28, "No space left on device"))
  )
  with pytest.raises(PreparationError, match=r"digits cannot be prepared in .*: .*No space left on device"):
    prepare_dataset("digits", str(tmp_path))
  assert_nothing_is_left(tmp_path)


def test_a_manual_directory_that_is_not_there(tmp_path):
  with pytest.raises(UserError, match="manual_directory='/nowhere' is not a folder"):
    prepare_dataset("mnist", str(tmp_path), "/nowhere")


def test_a_broken_description(tmp_path, digits, directory):
  shutil.copytree(directory, tmp_path, dirs_exist_ok=True)
  path = tmp_path / "digits" / "1.0.0" / "dataset_info.json"
  path.write_text(path.read_text()[:100])
  with pytest.raises(UserError, match=r"config.data.name='digits': .*/digits is broken \(.*; delete it and"):
    prepare_dataset("digits", str(tmp_path))

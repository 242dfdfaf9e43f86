import hashlib
import os
import pathlib
import subprocess
import sys
import types

import numpy as np
import pytest
from sklearn.datasets import load_digits

from cnn_zoo.data import digits as digits_module
from cnn_zoo.data.decode import decode_image
from cnn_zoo.errors import UserError

ROOT = pathlib.Path(__file__).parents[2]

# Opens the dataset once the file `go` is there, and prints what it read.
OPEN = """
import hashlib, os, sys, time, types
from cnn_zoo.data import digits, open_dataset
directory, go = sys.argv[1:]
print("ready", flush=True)
while not os.path.exists(go):
  time.sleep(0.001)
dataset = open_dataset(types.SimpleNamespace(name="digits", directory=directory))
print(hashlib.sha256(b"".join(record["image"] for record in dataset.test)).hexdigest())
"""


def test_split_is_fixed_for_ever():
  labels = load_digits().target
  indices = digits_module.test_indices(labels)
  assert len(indices) == len(set(indices)) == 360
  assert indices[:8] == [2, 6, 23, 27, 33, 37, 42, 52]
  assert (
    hashlib.sha256(repr(indices).encode()).hexdigest()
    == "6557cb70b162af9f7ff0d04207c0e331d2e58df80724166781591380070af5f2"
  )
  counts = np.bincount(labels)
  assert np.abs(np.bincount(labels[indices]) - counts * 360 / 1797).max() < 1


def test_records_are_the_digits_of_scikit_learn(digits):
  source = load_digits()
  test = digits_module.test_indices(source.target)
  train = [index for index in range(1797) if index not in set(test)]
  assert (digits.num_train, digits.num_test) == (len(train), len(test)) == (1437, 360)
  for records, indices in ((digits.train, train), (digits.test, test)):
    assert [record["label"] for record in records] == source.target[indices].tolist()
    pixels = np.stack([decode_image(record["image"], 1)[:, :, 0] for record in records])
    assert (pixels.min(), pixels.max()) == (0, 255)
    np.testing.assert_allclose(pixels, source.images[indices] * 255 / 16, atol=0.5)


def test_many_processes_prepare_at_once(tmp_path):
  directory, go = tmp_path / "datasets", tmp_path / "go"
  command = [sys.executable, "-c", OPEN, str(directory), str(go)]
  processes = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(3)]
  assert [process.stdout.readline() for process in processes] == ["ready\n"] * 3
  go.touch()
  hashes = {process.communicate(timeout=100)[0] for process in processes}
  assert [process.returncode for process in processes] == [0, 0, 0]
  assert len(hashes) == 1 and len(hashes.pop()) == 65
  assert [path.name for path in directory.iterdir()] == ["digits"]  # no private copies left
  assert [path.name for path in (directory / "digits").iterdir()] == ["1.0.0"]


def test_the_second_to_finish_uses_the_copy_of_the_first(tmp_path, monkeypatch):
  def beaten(source, destination):
    destination.mkdir()
    (destination / "dataset_info.json").touch()
    os.rename(source, destination)

  monkeypatch.setattr(digits_module, "os", types.SimpleNamespace(rename=beaten))  # not that of TFDS
  digits_module.prepare(str(tmp_path))
  assert [path.name for path in tmp_path.iterdir()] == ["digits"]
  assert (tmp_path / "digits" / "1.0.0" / "dataset_info.json").read_bytes() == b""


def test_what_is_interrupted_is_not_taken_for_finished(tmp_path):
  """Killed in the middle of it, which leaves its private directory, and started again."""
  go = tmp_path / "go"
  go.touch()
  slow = "digits.os = types.SimpleNamespace(rename=lambda *_: (print('prepared', flush=True), time.sleep(60)))\n"
  process = subprocess.Popen(
    [sys.executable, "-c", OPEN.replace("dataset =", slow + "dataset ="), str(tmp_path), str(go)],
    cwd=ROOT,
    stdout=subprocess.PIPE,
    text=True,
  )
  assert process.stdout.readline() == "ready\n"
  assert process.stdout.readline() == "prepared\n"
  process.kill()
  process.communicate()
  assert not list((tmp_path / "digits").iterdir())
  digits_module.prepare(str(tmp_path))
  assert (tmp_path / "digits" / "1.0.0" / "dataset_info.json").exists()


def test_a_directory_that_cannot_be_written(tmp_path):
  (tmp_path / "file").touch()
  with pytest.raises(UserError, match=r"data.directory='.*file' cannot be written: Not a directory"):
    digits_module.prepare(str(tmp_path / "file"))

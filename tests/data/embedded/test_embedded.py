import os
import subprocess
import sys
import types

import pytest

from cnn_zoo.data import list_datasets, prepare
from cnn_zoo.data.builders import make_builder
from cnn_zoo.data.specs import SPECS
from cnn_zoo.errors import UserError
from tests.helpers import ROOT

# Opens a dataset once the file `go` is there, and prints what it read.
OPEN = """
import hashlib, os, sys, time, types
from cnn_zoo.data import open_dataset, prepare
directory, go = sys.argv[1:]
print("ready", flush=True)
while not os.path.exists(go):
  time.sleep(0.001)
dataset = open_dataset(types.SimpleNamespace(name="digits", directory=directory, validation=0.0))
print(hashlib.sha256(b"".join(record["image"] for record in dataset.test)).hexdigest())
"""


@pytest.mark.parametrize("name", [name for name in list_datasets() if SPECS[name].embedded])
def test_every_name_has_a_builder(name, tmp_path):
  assert str(make_builder(name, str(tmp_path)).version) == "1.0.0"


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

  monkeypatch.setattr(prepare, "os", types.SimpleNamespace(**{**vars(os), "rename": beaten}))  # not that of TFDS
  prepare.prepare_embedded("digits", str(tmp_path))
  assert [path.name for path in tmp_path.iterdir()] == ["digits"]
  assert (tmp_path / "digits" / "1.0.0" / "dataset_info.json").read_bytes() == b""


def test_what_is_interrupted_is_not_taken_for_finished(tmp_path):
  """Killed in the middle of it, which leaves its private directory, and started again."""
  go = tmp_path / "go"
  go.touch()
  slow = (
    "rename = lambda *_: (print('prepared', flush=True), time.sleep(60))\n"
    "prepare.os = types.SimpleNamespace(**{**vars(os), 'rename': rename})\n"
  )
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
  prepare.prepare_embedded("digits", str(tmp_path))
  assert (tmp_path / "digits" / "1.0.0" / "dataset_info.json").exists()


def test_a_directory_that_cannot_be_written(tmp_path):
  (tmp_path / "file").touch()
  with pytest.raises(UserError, match=r"config.data.directory='.*file' cannot be written: Not a directory"):
    prepare.prepare_embedded("digits", str(tmp_path / "file"))

"""The folder of a run."""

import errno
import os
import re
from unittest import mock

import pytest

from cnn_zoo.errors import DamageError, UserError
from cnn_zoo.training.folder import RunFolder
from tests.helpers import runner


def test_config(tmp_path):
  folder = RunFolder(tmp_path)
  with pytest.raises(UserError, match=r"^workdir='.*' holds no run; valid: the folder of a run"):
    folder.read_config()
  config = runner.load("m5", steps=3)
  folder.write_config(config)
  assert folder.read_config().to_dict() == config.to_dict()
  assert [path.name for path in tmp_path.iterdir()] == ["config.json"]


def test_set_aside(tmp_path):
  """Under the first name that is free; what holds no run stays."""
  folder = RunFolder(tmp_path / "run")
  assert folder.set_aside() is None
  folder.prepare()
  (folder.path / "notes.txt").write_text("mine")
  assert folder.set_aside() is None and (folder.path / "notes.txt").exists()
  (tmp_path / "run.old1").mkdir()
  folder.checkpoints.mkdir()
  assert folder.set_aside() == tmp_path / "run.old2"
  assert not folder.path.exists() and (tmp_path / "run.old2" / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("path", [".", "../run", ".."])
def test_the_current_folder_is_not_set_aside(path, tmp_path, monkeypatch):
  """Nor one around it: the process would stay in it, under its new name."""
  for folder in (tmp_path, tmp_path / "run"):
    folder.mkdir(exist_ok=True)
    (folder / "config.json").touch()
  monkeypatch.chdir(tmp_path / "run")
  with pytest.raises(
    UserError, match=rf"^workdir='{re.escape(path)}' holds the current folder and cannot be renamed; give an"
  ):
    RunFolder(path).set_aside()


def test_a_folder_that_cannot_be_renamed(tmp_path, monkeypatch):
  folder = RunFolder(tmp_path / "run")
  folder.checkpoints.mkdir(parents=True)
  failing = mock.Mock(side_effect=OSError(errno.EBUSY, os.strerror(errno.EBUSY)))
  monkeypatch.setattr(type(tmp_path), "rename", failing)
  with pytest.raises(UserError, match=r"^workdir='.*' cannot be renamed: Device or resource busy; give another"):
    folder.set_aside()


def test_a_folder_that_cannot_be_written(tmp_path):
  (tmp_path / "file").touch()
  with pytest.raises(UserError, match=r"^workdir='.*/file/run' cannot be written: Not a directory; give another"):
    RunFolder(tmp_path / "file" / "run").prepare()


@pytest.mark.parametrize("character", "[]*?\\")
def test_paths_under_which_no_checkpoint_would_be_found(character, tmp_path, monkeypatch):
  """Orbax looks for the files of a checkpoint by a pattern; so these are refused before anything is written."""
  folder = tmp_path / f"a{character}b"
  says = re.escape(
    f" has {character} in its absolute path, where no checkpoint is found; valid: a path without [ ] * ? "
  )
  for path in (folder, folder / "run"):
    with pytest.raises(UserError, match=f"^workdir=.*{says}"):
      RunFolder(path)
  with pytest.raises(UserError, match=f"^config.init=.*{says}"):
    RunFolder(folder, "config.init")
  folder.mkdir()
  monkeypatch.chdir(folder)
  with pytest.raises(UserError, match=f"^workdir='run'{says}"):
    RunFolder("run")


@pytest.mark.parametrize(
  ("path", "says"),
  [
    ("x" * 5000, "is too long; valid: at most 240 bytes a name and 3500 in all"),
    ("x" * 241, "is too long; valid: at most 240 bytes a name"),
    ("/".join(["x" * 200] * 20), "is too long; valid: at most 240 bytes a name"),
    ("a\nb", "has a character in its absolute path that cannot be printed"),
    (os.fsdecode(b"\xff"), "has a character in its absolute path that cannot be printed"),
  ],
)
def test_paths_that_make_trouble_later(path, says):
  with pytest.raises(UserError, match=f"^workdir='.* {says}") as error:
    RunFolder(path)
  assert len(str(error.value)) < 400 and str(error.value).isprintable()
  RunFolder("ä" * 120)


def test_a_folder_that_is_gone(tmp_path, monkeypatch):
  (tmp_path / "gone").mkdir()
  monkeypatch.chdir(tmp_path / "gone")
  (tmp_path / "gone").rmdir()
  with pytest.raises(
    UserError, match=r"^workdir='run': the current folder cannot be found: No such file or directory$"
  ):
    RunFolder("run")


def test_a_file_in_place_of_the_folder(tmp_path):
  (tmp_path / "file").touch()
  with pytest.raises(UserError, match=r"^workdir='.*/file' cannot be written: File exists; give another --workdir$"):
    RunFolder(tmp_path / "file").prepare()
  with pytest.raises(UserError, match=r"^workdir='.*/file' holds no run; valid: the folder of a run"):
    RunFolder(tmp_path / "file").read_config()


@pytest.mark.parametrize(
  "data",
  [
    b"",
    b"{",
    b"[]",
    b"1",
    b"\xff\xfe{}",
    b"{}",
    b'{"model": 3}',
    b'{"model": {"name": 3}}',
    b'{"model": {"name": "lenet5"}, "batch_size": "many"}',
    b"[" * 100_000,
  ],
)
def test_a_damaged_config(data, tmp_path):
  folder = RunFolder(tmp_path)
  folder.config.write_bytes(data)
  with pytest.raises(DamageError, match=r"/config\.json is damaged: ") as error:
    folder.read_config()
  assert "\n" not in str(error.value)

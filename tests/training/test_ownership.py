"""The owner of a run's folder."""

import errno
import fcntl
import json
import os
import re
import signal
import socket

import pytest

from cnn_zoo.errors import UserError
from cnn_zoo.training.folder import RunFolder
from cnn_zoo.training.ownership import owned
from tests.helpers import runner

# Owns the folder of its argument until it is killed.
OWNER = """
import sys, time
from cnn_zoo.training.folder import RunFolder
from cnn_zoo.training.ownership import owned
with owned(RunFolder(sys.argv[1])):
  print("owned", flush=True)
  time.sleep(100)
"""


def test_one_owner(tmp_path):
  """Of a folder and of the one that takes its name; the record says who it is."""
  folder = RunFolder(tmp_path / "run")
  with owned(folder) as notes:
    assert notes == []
    record = json.loads(folder.owner.read_text())
    assert (record["host"], record["process"]) == (socket.gethostname(), os.getpid())
    says = f"workdir='{folder}' is in use by process {os.getpid()} on {record['host']} since {record['started']}; wait"
    says = f"^{re.escape(says)} until it has ended, or give another --workdir$"
    folder.checkpoints.mkdir()
    for restart in (False, True):
      with (
        pytest.raises(UserError, match=says),
        owned(folder, restart=restart),
      ):
        pass
    folder.owner.write_text("{")
    with pytest.raises(UserError, match="is in use by another process; wait"), owned(folder):
      pass
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
  with owned(folder, restart=True) as notes:
    assert notes == [f"the run that was in {folder} is now in {folder}.old1"]
    assert (tmp_path / "run.old1" / "checkpoints").exists() and not folder.checkpoints.exists()
    with owned(RunFolder(tmp_path / "run.old1")), pytest.raises(UserError, match="is in use by"), owned(folder):
      pass


def test_a_killed_owner(tmp_path):
  """The folder is free as soon as its owner is dead; a stopped one still owns it."""
  process = runner.start(["-c", OWNER, str(tmp_path)])
  try:
    assert process.stdout.readline() == "owned\n"
    for stop in (signal.SIGCONT, signal.SIGSTOP):
      process.send_signal(stop)
      with pytest.raises(UserError, match=f"is in use by process {process.pid} on "), owned(RunFolder(tmp_path)):
        pass
  finally:
    process.kill()
    process.communicate()
  with owned(RunFolder(tmp_path)):
    assert json.loads((tmp_path / "owner.json").read_text())["process"] == os.getpid()


def test_a_folder_that_was_renamed_before_it_was_locked(tmp_path, monkeypatch):
  """What is locked is the folder that has the name."""

  folder, flock = RunFolder(tmp_path / "run"), fcntl.flock

  def renamed(*arguments):
    monkeypatch.setattr(fcntl, "flock", flock)
    folder.path.rename(tmp_path / "other")
    folder.prepare()
    flock(*arguments)

  monkeypatch.setattr(fcntl, "flock", renamed)
  with owned(folder):
    assert folder.owner.read_text() and not (tmp_path / "other" / "owner.json").read_text()
    with pytest.raises(UserError, match="is in use by"), owned(folder):
      pass


def test_a_file_system_without_locks(tmp_path, monkeypatch):
  """It is said."""

  def fails(*_):
    raise OSError(errno.ENOLCK, "No locks available")

  monkeypatch.setattr(fcntl, "flock", fails)
  with owned(RunFolder(tmp_path)) as notes:
    assert notes == [f"warning: {tmp_path} cannot be locked (No locks available); start no second run in it"]

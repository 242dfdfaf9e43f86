"""One process trains in the folder of a run at a time."""

import contextlib
import errno
import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
from jax.experimental import multihost_utils

from cnn_zoo.errors import UserError
from cnn_zoo.training.folder import RunFolder

_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)  # of a file system that has none


@contextlib.contextmanager
def owned(folder: RunFolder, *, restart: bool = False) -> Iterator[list[str]]:
  """A context in which no other process trains in `folder`, which is created if it is not there.

  The folder's owner.json is locked (flock) and says who owns it. The operating system releases the lock when the owner
  ends, in whatever way. In a job of several processes all must call this; the first one locks.

  Args:
    folder: the run's folder.
    restart: whether to rename what the folder holds (`RunFolder.set_aside`) and to own an empty one.

  Yields:
    Lines for the log.

  Raises:
    UserError: if another process owns the folder, in every process of this job; or if it cannot be written.

  Example:
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as path, owned(RunFolder(path)):
    ...   with owned(RunFolder(path)):  # doctest: +ELLIPSIS
    ...     pass
    Traceback (most recent call last):
      ...
    cnn_zoo.errors.UserError: workdir='...' is in use by process ... on ... since ...; wait until it has ended, or ...
  """
  folder.prepare()
  with contextlib.ExitStack() as locks:
    notes = _lock(folder, locks)
    aside = folder.set_aside() if restart else None
    if aside:
      folder.prepare()
      with locks.pop_all():  # until the new folder is locked; the old one is free then
        notes = _lock(folder, locks)
      notes.append(f"the run that was in {folder} is now in {aside}")
    yield notes


def _lock(folder, locks):
  """Lets the first process lock the folder, until `locks` is closed, and all processes learn of it; returns notes."""
  refusal, notes = "", []
  if jax.process_index() == 0:
    try:
      notes = _take(folder, locks)
    except UserError as error:
      refusal = str(error)
  refusal = _of_first_process(refusal)
  if refusal:
    raise UserError(refusal)
  return notes


def _take(folder, locks):
  file = None
  while file is None or not _is_at(file, folder.owner):  # it may be renamed, with its folder, before it is locked
    try:
      file = locks.enter_context(folder.owner.open("a"))
      fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
      raise UserError(_refusal(folder)) from None
    except OSError as error:
      if error.errno in _NO_LOCKS:
        return [f"warning: {folder} cannot be locked ({error.strerror}); start no second run in it"]
      raise UserError(f"workdir={str(folder)!r} cannot be locked: {error.strerror}; give another --workdir") from None
  owner = {"host": socket.gethostname(), "process": os.getpid(), "started": time.strftime("%Y-%m-%d %H:%M:%S %z")}
  file.truncate(0)
  file.write(json.dumps(owner) + "\n")
  file.flush()
  return []


def _is_at(file, path: Path) -> bool:
  try:
    return os.path.samestat(os.fstat(file.fileno()), path.stat())
  except FileNotFoundError:
    return False


def _refusal(folder):
  try:
    owner = json.loads(folder.owner.read_text())
    who = f"process {owner['process']} on {owner['host']} since {owner['started']}"
  except (OSError, ValueError, TypeError, KeyError):  # it is being written
    who = "another process"
  return f"workdir={str(folder)!r} is in use by {who}; wait until it has ended, or give another --workdir"


def _of_first_process(text: str) -> str:
  """What the first process gives, in all processes."""
  if jax.process_count() == 1:
    return text
  padded = np.zeros(4096, np.uint8)
  encoded = np.frombuffer(text.encode()[: len(padded)], np.uint8)
  padded[: len(encoded)] = encoded
  return np.asarray(multihost_utils.broadcast_one_to_all(padded)).tobytes().rstrip(b"\0").decode(errors="replace")

"""Digests of what a checkpoint holds, by which damage is noticed when it is read."""

import hashlib
import json
from collections.abc import Awaitable
from typing import Any

import jax
import numpy as np

_FILE = "digests.json"


def digest(value: Any) -> str:
  """The digest of an array, with its dtype and shape, or of JSON, after which equal texts are equal values.

  Args:
    value: an array of NumPy or JAX, of which the copy on its first device counts; or what `json.dumps` takes.

  Example:
    >>> digest(np.zeros(2, np.int32)) == digest(np.zeros(2, np.float32)), digest({"a": (1,)}) == digest({"a": [1]})
    (False, True)
  """
  if isinstance(value, jax.Array):
    value = value.addressable_data(0)  # not `value` itself: it would keep a view and could not be donated
  if hasattr(value, "dtype"):
    array = np.ascontiguousarray(value)
    header, data = f"{array.dtype.name}{np.shape(value)}", array.reshape(-1).view(np.uint8).data
  else:
    header, data = "", json.dumps(json.loads(json.dumps(value)), sort_keys=True).encode()
  result = hashlib.blake2b(header.encode(), digest_size=16)
  result.update(data)
  return result.hexdigest()


def named(tree: Any) -> dict[str, Any]:
  """The leaves of a pytree by name, the same for dataclasses, tuples and the nested dicts that they are saved as.

  Example:
    >>> named({"params": [{"kernel": 3}]})
    {'params/0/kernel': 3}
  """
  return {"/".join(map(_key, path)): x for path, x in jax.tree.leaves_with_path(tree)}


def _key(key):
  return str(getattr(key, "key", getattr(key, "idx", getattr(key, "name", key))))


class Digests:
  """The digests of a checkpoint by name, as an item that Orbax saves and loads.

  Saving computes them in the thread that writes, from copies that are made at once.

  Args:
    values: what is to be saved: arrays and JSON by name.

  Attributes:
    digests: {name: digest}, once they are saved or loaded.
  """

  def __init__(self, values: dict[str, Any] | None = None):
    self.digests: dict[str, str] = {}
    self._copies = {name: _copy(value) for name, value in (values or {}).items()} if jax.process_index() == 0 else {}

  async def save(self, directory: Any) -> Awaitable[None]:
    """What Orbax calls first; it awaits the result in the thread that writes."""
    return self._write(directory)

  async def _write(self, directory):
    path = await directory.await_creation()
    self.digests = {name: digest(value) for name, value in self._copies.items()}
    self._copies = {}
    if jax.process_index() == 0:
      (path / _FILE).write_text(json.dumps(self.digests))

  async def load(self, directory: Any) -> Awaitable[None]:
    """What Orbax calls to load them."""
    return self._read(directory)

  async def _read(self, directory):
    self.digests = json.loads((directory / _FILE).read_text())


def _copy(value):
  if isinstance(value, jax.Array):
    return np.array(value.addressable_data(0))
  return np.array(value) if hasattr(value, "dtype") else json.loads(json.dumps(value))

"""Files of weights: safetensors, and what `torch.save(model.state_dict(), ...)` writes. Neither needs PyTorch.

A PyTorch file is a pickle, and a pickle can run any code. Here nothing that it names is looked up: the few names that a
state dict needs stand for functions of this file, and any other name ends the reading.
"""

import collections
import json
import math
import os
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import ml_dtypes
import numpy as np

from cnn_zoo.errors import UserError

_SAFETENSORS = {
  "F64": np.float64,
  "F32": np.float32,
  "F16": np.float16,
  "BF16": ml_dtypes.bfloat16,
  "I64": np.int64,
  "I32": np.int32,
  "I16": np.int16,
  "I8": np.int8,
  "U8": np.uint8,
  "BOOL": np.bool_,
}
_STORAGES = {
  "DoubleStorage": np.float64,
  "FloatStorage": np.float32,
  "HalfStorage": np.float16,
  "BFloat16Storage": ml_dtypes.bfloat16,
  "LongStorage": np.int64,
  "IntStorage": np.int32,
  "ShortStorage": np.int16,
  "CharStorage": np.int8,
  "ByteStorage": np.uint8,
  "BoolStorage": np.bool_,
}
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C  # begins the files of PyTorch before 1.6


class _FormatError(Exception):
  """What is wrong with a file; `read_weights` says in which."""


def read_weights(path: str | Path) -> Mapping[str, np.ndarray]:
  """The tensors of a .safetensors or .pth (.pt, .bin) file by name.

  Raises:
    UserError: if there is no such file, its kind is not known, it is damaged, holds something else than tensors by
      name, or names code.
  """
  path = Path(path)
  readers = {".safetensors": _read_safetensors, ".pth": _read_torch, ".pt": _read_torch, ".bin": _read_torch}
  if path.suffix not in readers:
    raise UserError(f"weights={str(path)!r} must end in {', '.join(readers)}")
  if not path.is_file():
    raise UserError(f"weights={str(path)!r} is not there, or is no file")
  try:
    return readers[path.suffix](path)
  except _FormatError as error:
    raise UserError(f"weights={str(path)!r} {error}") from None
  except OSError as error:
    raise UserError(f"weights={str(path)!r} cannot be read: {error.strerror}") from None


def _read_safetensors(path):
  """The length of the header in 8 bytes, the header in JSON, the tensors' bytes, all little-endian."""
  data = np.memmap(path, np.uint8, "r") if path.stat().st_size else np.zeros(0, np.uint8)
  start = 8 + int.from_bytes(data[:8].tobytes(), "little")
  try:
    header = json.loads(data[8:start].tobytes()) if start <= len(data) else None
    entries = {name: value for name, value in header.items() if name != "__metadata__"}
    return {name: _safetensor(name, data[start:], **entry) for name, entry in entries.items()}
  except (AttributeError, TypeError, ValueError, RecursionError):
    raise _FormatError("is damaged, or is no safetensors file") from None


def _safetensor(name, data, dtype, shape, data_offsets):
  if dtype not in _SAFETENSORS:
    raise _FormatError(f"holds {name!r} as {dtype}; valid: {', '.join(_SAFETENSORS)}")
  start, end = data_offsets
  dtype = np.dtype(_SAFETENSORS[dtype])
  if not 0 <= start <= end <= len(data) or end - start != math.prod(shape) * dtype.itemsize:
    raise _FormatError(f"is damaged: {name!r} does not lie within it")
  return data[start:end].view(dtype).reshape(shape)


class _Storage(NamedTuple):
  """The numbers that tensors are views of, by their key in the file."""

  key: str
  dtype: np.dtype


class _View(NamedTuple):
  """A tensor: some of the numbers of a storage; offset and strides count numbers."""

  storage: _Storage
  offset: int
  shape: tuple[int, ...]
  strides: tuple[int, ...]

  def array(self, storages: Mapping[str, bytes]) -> np.ndarray:
    """Its numbers; read-only."""
    sizes = [*self.shape, *self.strides, self.offset]
    if len(self.shape) != len(self.strides) or any(type(n) is not int or n < 0 for n in sizes):
      raise ValueError("a shape that is none")
    if 0 in self.shape:
      return np.zeros(self.shape, self.storage.dtype)
    numbers = np.frombuffer(storages[self.storage.key], self.storage.dtype)
    last = self.offset + sum((n - 1) * s for n, s in zip(self.shape, self.strides, strict=True))
    if last >= len(numbers):
      raise ValueError("a tensor reaches beyond its storage")
    strides = [s * numbers.itemsize for s in self.strides]
    return np.lib.stride_tricks.as_strided(numbers[self.offset :], self.shape, strides, writeable=False)


class _Unpickler(pickle.Unpickler):
  """Reads a pickle of tensors by name, and nothing else."""

  def find_class(self, module, name):
    """What `module.name` stands for; nothing is imported."""
    if (module, name) == ("collections", "OrderedDict"):
      return collections.OrderedDict
    if module == "torch" and name in _STORAGES:
      return name
    if (module, name) in (("torch._utils", "_rebuild_tensor_v2"), ("torch._utils", "_rebuild_tensor")):
      return lambda storage, offset, shape, strides, *_: _View(storage, offset, shape, strides)
    if (module, name) == ("torch._utils", "_rebuild_parameter"):
      return lambda tensor, *_: tensor
    raise _FormatError(f"refers to {module}.{name}, which could run code; valid: a file of model.state_dict() alone")

  def persistent_load(self, identifier):
    """A storage, of which the pickle holds the type and the key."""
    kind, storage, key, *_, view = [*identifier, None][:6]  # the sixth is of old files alone
    if kind != "storage" or view is not None:
      raise ValueError("a storage that is none")
    return _Storage(key, np.dtype(_STORAGES[storage]))


def _read_torch(path):
  try:
    views, storages = _read_zip(path) if zipfile.is_zipfile(path) else _read_legacy(path)
    return {name: view.array(storages) for name, view in views.items()}
  except (_FormatError, OSError):
    raise
  except Exception:  # a damaged pickle can raise anything
    raise _FormatError("is damaged, or was not written by torch.save") from None


def _read_zip(path):
  """(views by name, bytes of storages by key) of a file by PyTorch 1.6 or later."""
  with zipfile.ZipFile(path) as file:
    (pickled,) = (name for name in file.namelist() if name.endswith("/data.pkl"))
    folder = pickled.removesuffix("data.pkl")
    if f"{folder}byteorder" in file.namelist() and file.read(f"{folder}byteorder") != b"little":
      raise _FormatError("is big-endian; save it on another machine")
    with file.open(pickled) as stream:
      views = _Unpickler(stream, encoding="utf-8").load()
    return views, {key: file.read(f"{folder}data/{key}") for key in _types(views)}


def _read_legacy(path):
  """The same of a file by an earlier PyTorch: five pickles, then each storage's length and numbers."""
  with path.open("rb") as file:
    magic, _, system, views, keys = (_Unpickler(file, encoding="utf-8").load() for _ in range(5))
    if magic != _LEGACY_MAGIC or not system["little_endian"]:
      raise ValueError("another kind of file")
    types = _types(views)
    return views, {key: _read_exactly(file, _read_length(file) * types[key].itemsize) for key in keys}


def _types(views):
  """{key: dtype} of the storages of a state dict; raises _FormatError if it is none."""
  if not isinstance(views, dict):
    raise _FormatError("holds no tensors by name; valid: a file of model.state_dict()")
  for name, view in views.items():
    if not isinstance(name, str) or not isinstance(view, _View):
      raise _FormatError(f"holds {name!r}, which is no tensor; valid: a file of model.state_dict() alone")
  return {view.storage.key: view.storage.dtype for view in views.values()}


def _read_length(file):
  return int.from_bytes(file.read(8), "little")


def _read_exactly(file, size):
  if size > os.fstat(file.fileno()).st_size:  # before so much memory is taken
    raise ValueError("a storage reaches beyond its file")
  return file.read(size)

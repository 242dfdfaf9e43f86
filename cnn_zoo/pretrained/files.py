"""Files of weights: safetensors, and what `torch.save` writes of a state dict or a training checkpoint.

Neither needs PyTorch. A PyTorch file is a pickle, and a pickle can run any code. Here nothing that it names is
imported: the few names that a state dict needs stand for functions of this file, and any other name is an error.
"""

import collections
import io
import os
import pickle
import pickletools
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import ml_dtypes
import numpy as np
import safetensors

from cnn_zoo.errors import UserError
from cnn_zoo.pretrained.state_dicts import ENTRIES

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
_MOST_OBJECTS = 1 << 22  # in a pickle, far more than any training checkpoint has
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C  # begins the files of PyTorch before 1.6


class _FormatError(Exception):
  """What is wrong with a file; `read_weights` says in which."""


def read_weights(path: str | Path) -> Mapping[str, Any]:
  """The tensors of a .safetensors or .pth (.pt, .bin) file by name.

  Args:
    path: of the file. A PyTorch file may also be a training checkpoint.

  Returns:
    {name: array}, read-only arrays; of a training checkpoint {entry: {name: array}} of the entries in
    `state_dicts.ENTRIES` that it has, such as "state_dict" and "state_dict_ema". `cnn_zoo.load_torch_state_dict` takes
    both.

  Raises:
    UserError: if there is no such file, its kind is not known, it is damaged, holds something else than tensors by
      name, or names code.

  Example:
    >>> import tempfile, pathlib, numpy as np, safetensors.numpy
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "weights.safetensors"
    >>> safetensors.numpy.save_file({"fc.bias": np.ones(2, np.float32)}, path)
    >>> read_weights(path)
    {'fc.bias': array([1., 1.], dtype=float32)}
  """
  path = Path(path)
  readers = {".safetensors": _read_safetensors, ".pth": _read_torch, ".pt": _read_torch, ".bin": _read_torch}
  if path.suffix not in readers:
    raise UserError(f"weights={str(path)!r} must end in {', '.join(readers)}")
  try:
    if not path.is_file():
      raise UserError(f"weights={str(path)!r} does not exist, or is not a file")
    return readers[path.suffix](path)
  except _FormatError as error:
    raise UserError(f"weights={str(path)!r} {error}") from None
  except OSError as error:
    raise UserError(f"weights={str(path)!r} cannot be read: {error.strerror}") from None


def _read_safetensors(path):
  try:
    tensors = dict(safetensors.deserialize(path.read_bytes()))
  except safetensors.SafetensorError as error:
    raise _FormatError(f"is damaged, or is not a safetensors file: {error}") from None
  for name, tensor in tensors.items():
    if tensor["dtype"] not in _SAFETENSORS:
      raise _FormatError(f"holds {name!r} as {tensor['dtype']}; valid: {', '.join(_SAFETENSORS)}")
  return {
    name: np.frombuffer(tensor["data"], _SAFETENSORS[tensor["dtype"]]).reshape(tensor["shape"])
    for name, tensor in tensors.items()
  }


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
      raise ValueError("not a shape")
    if 0 in self.shape:
      return np.zeros(self.shape, self.storage.dtype)
    numbers = np.frombuffer(storages[self.storage.key], self.storage.dtype)
    last = self.offset + sum((n - 1) * s for n, s in zip(self.shape, self.strides, strict=True))
    if last >= len(numbers):
      raise ValueError("a tensor reaches beyond its storage")
    strides = [s * numbers.itemsize for s in self.strides]
    return np.lib.stride_tricks.as_strided(numbers[self.offset :], self.shape, strides, writeable=False)


class _Ignored:
  """What a training checkpoint holds besides tensors, such as the command line; its content is dropped."""

  def __init__(self, *_):
    pass

  def __setstate__(self, state):
    pass


class _Unpickler(pickle.Unpickler):
  """Reads a pickle of tensors by name, and what stands next to them in training checkpoints.

  Attributes:
    types: {key: dtype} of the storages met so far.
  """

  def __init__(self, file: BinaryIO):
    super().__init__(file, encoding="utf-8")
    self.types: dict[str, np.dtype] = {}
    self._file = file

  def load(self) -> Any:
    """The next object of the file; raises ValueError if it would take memory for more objects than it can hold."""
    start = self._file.tell()
    for opcode, number, _ in pickletools.genops(self._file):
      if opcode.name in ("PUT", "LONG_BINPUT") and (number or 0) > _MOST_OBJECTS:
        raise ValueError("too many objects")
    self._file.seek(start)
    return super().load()

  def find_class(self, module: str, name: str) -> Any:
    """What `module.name` stands for; nothing is imported."""
    if (module, name) == ("collections", "OrderedDict"):
      return collections.OrderedDict
    if (module, name) in (("argparse", "Namespace"), ("collections", "Counter")):  # of a command line, of a schedule
      return _Ignored
    if module == "torch" and name in _STORAGES:
      return name
    if (module, name) in (("torch._utils", "_rebuild_tensor_v2"), ("torch._utils", "_rebuild_tensor")):
      return lambda storage, offset, shape, strides, *_: _View(storage, offset, shape, strides)
    if (module, name) == ("torch._utils", "_rebuild_parameter"):
      return lambda tensor, *_: tensor
    raise _FormatError(f"refers to {module}.{name}, which could run code; valid: a file of model.state_dict() alone")

  def persistent_load(self, pid: Any) -> _Storage:
    """A storage, of which the pickle holds the type and the key."""
    fields: list[Any] = [*pid, None][:6]
    kind, storage, key, *_, view = fields  # the sixth is of old files only
    if kind != "storage" or view is not None:
      raise ValueError("not a storage")
    self.types[key] = np.dtype(_STORAGES[storage])
    return _Storage(key, self.types[key])


def _read_torch(path):
  try:
    views, storages = _read_zip(path) if zipfile.is_zipfile(path) else _read_legacy(path)
    if all(isinstance(view, _View) for view in views.values()):
      return {name: view.array(storages) for name, view in views.items()}
    return {entry: {name: view.array(storages) for name, view in views[entry].items()} for entry in views}
  except (_FormatError, OSError):
    raise
  except Exception:  # a damaged pickle can raise anything
    raise _FormatError("is damaged, or was not written by torch.save") from None


def _read_zip(path):
  """(views by name or by entry and name, bytes of storages by key) of a file by PyTorch 1.6 or later."""
  with zipfile.ZipFile(path) as file:
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in file.infolist()):
      raise _FormatError(
        "holds compressed entries, which torch.save never writes; valid: a file as torch.save wrote it"
      )
    if sum(entry.file_size for entry in file.infolist()) > path.stat().st_size:
      raise ValueError("the entries are longer than the file")
    (pickled,) = (name for name in file.namelist() if name.endswith("/data.pkl"))
    folder = pickled.removesuffix("data.pkl")
    if f"{folder}byteorder" in file.namelist() and file.read(f"{folder}byteorder") != b"little":
      raise _FormatError("is big-endian; save it on another machine")
    views = _state_dicts(_Unpickler(io.BytesIO(file.read(pickled))).load())
    groups = [views] if all(isinstance(view, _View) for view in views.values()) else views.values()
    keys = {view.storage.key for group in groups for view in group.values()}
    return views, {key: file.read(f"{folder}data/{key}") for key in keys}


def _read_legacy(path):
  """The same of a file by an earlier PyTorch: five pickles, then each storage's length and numbers."""
  with path.open("rb") as file:
    unpicklers = [_Unpickler(file) for _ in range(5)]
    magic, _, system, views, keys = (unpickler.load() for unpickler in unpicklers)
    if magic != _LEGACY_MAGIC or not system["little_endian"]:
      raise ValueError("another kind of file")
    types = unpicklers[3].types
    views = _state_dicts(views)
    return views, {key: _read_exactly(file, _read_length(file) * types[key].itemsize) for key in keys}


def _state_dicts(loaded):
  """What was unpickled if it is a state dict, or its `ENTRIES` that are; raises _FormatError if there are none."""
  if not isinstance(loaded, dict):
    raise _FormatError("holds no tensors by name; valid: a file of model.state_dict()")
  entries = {name: loaded[name] for name in ENTRIES if isinstance(loaded.get(name), dict)}
  for name, view in (item for group in entries.values() or [loaded] for item in group.items()):
    if not isinstance(name, str) or not isinstance(view, _View):
      valid = f"valid: a file of model.state_dict(), alone or as one of {', '.join(ENTRIES)}"
      raise _FormatError(f"holds {name!r}, which is not a tensor; {valid}")
  return entries or loaded


def _read_length(file):
  return int.from_bytes(file.read(8), "little")


def _read_exactly(file, size):
  if size > os.fstat(file.fileno()).st_size:  # before so much memory is taken
    raise ValueError("a storage reaches beyond its file")
  return file.read(size)

"""State dicts as people save them: wrapped in a training checkpoint, with prefixes, or with PyTorch's own tensors."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from cnn_zoo.errors import UserError

# The entries of a training checkpoint that hold a model, averaged weights first, as timm prefers them.
ENTRIES = ("state_dict_ema", "model_ema", "ema", "state_dict", "model_state_dict", "model_state", "model")

# What DistributedDataParallel and AveragedModel, torch.compile and Lightning put in front of every name.
PREFIXES = ("module.", "_orig_mod.", "model.")

# Counters that no layer of ours needs: of batch normalisation and of AveragedModel.
_COUNTERS = ("num_batches_tracked", "n_averaged")


def select_state_dict(state: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
  """The tensors by name in what people hand in as a state dict.

  Args:
    state: {name: tensor}; or a training checkpoint that holds one as one of `ENTRIES`, of which the first in that order
      is taken. Prefixes that every name has are removed, as is "_orig_mod." anywhere; so are the counters
      `num_batches_tracked` and `n_averaged`.

  Returns:
    ({name: tensor}, notes), where the notes say which entry was taken and which prefixes were removed.

  Raises:
    UserError: if there is no such entry.

  Example:
    >>> select_state_dict({"epoch": 3, "state_dict": {"module.fc.bias": [0.0, 1.0]}})
    ({'fc.bias': [0.0, 1.0]}, ["took the entry 'state_dict'", "removed the prefix 'module.'"])
  """
  notes = []
  while any(isinstance(value, Mapping) for value in state.values()):
    entries = [name for name in ENTRIES if isinstance(state.get(name), Mapping)]
    if not entries:
      found = ", ".join(map(str, list(state)[:20]))
      raise UserError(f"the weights hold no tensors by name, but {found}; valid: a state dict, or {', '.join(ENTRIES)}")
    others = f" instead of {', '.join(map(repr, entries[1:]))}" if entries[1:] else ""
    notes.append(f"took the entry {entries[0]!r}{others}")
    state = state[entries[0]]
  tensors = {name: value for name, value in state.items() if not name.endswith(_COUNTERS)}
  while prefix := next((p for p in PREFIXES if tensors and all(name.startswith(p) for name in tensors)), None):
    notes.append(f"removed the prefix {prefix!r}")
    tensors = {name.removeprefix(prefix): value for name, value in tensors.items()}
  inner = {name.replace("_orig_mod.", ""): value for name, value in tensors.items()}
  if inner.keys() != tensors.keys() and len(inner) == len(tensors):
    notes.append("removed '_orig_mod.' within names")
    tensors = inner
  return tensors, notes


def check_separate(tensors: Mapping[str, np.ndarray]) -> None:
  """Checks that no number belongs to two elements, as where a damaged file gives two tensors the same place.

  Args:
    tensors: arrays that view the same memory where they were the same in a file (`files.read_weights`).

  Raises:
    UserError: two arrays overlap, or the elements of one.

  Example:
    >>> numbers = np.arange(6.0)
    >>> check_separate({"a": numbers[:3], "b": numbers[3:]})
    >>> check_separate({"a": numbers[:3], "b": numbers[2:]})
    Traceback (most recent call last):
      ...
    cnn_zoo.errors.UserError: the weights are damaged: 'b' overlaps 'a'
  """
  ends: list[tuple[int, str]] = []  # of the tensors that may reach further
  present = [name for name, tensor in tensors.items() if tensor.size]
  for name in sorted(present, key=lambda name: _address(tensors[name])):
    start, extent = _address(tensors[name]), tensors[name].itemsize
    for stride, length in sorted(zip(tensors[name].strides, tensors[name].shape, strict=True)):
      if length > 1:
        if stride < extent:
          raise UserError(f"the weights are damaged: elements of {name!r} overlap")
        extent += stride * (length - 1)
    ends = [(end, other) for end, other in ends if end > start]
    for _, other in ends:
      if np.shares_memory(tensors[name], tensors[other]):
        raise UserError(f"the weights are damaged: {name!r} overlaps {other!r}")
    ends.append((start + extent, name))


def _address(array: np.ndarray) -> int:
  """Where the first element is in memory."""
  return array.__array_interface__["data"][0]


def to_numpy(tensor: Any) -> np.ndarray:
  """A tensor of PyTorch, or anything that NumPy reads, as an array. PyTorch need not be installed.

  A tensor that requires gradients or is on another device is handled, and bfloat16, which NumPy lacks, becomes float32.
  """
  if hasattr(tensor, "detach"):
    tensor = tensor.detach().cpu()
    if str(tensor.dtype) == "torch.bfloat16":
      tensor = tensor.float()
  return np.asarray(tensor)

"""What people hand in as a state dict, and which of it is taken."""

import numpy as np
import pytest

from cnn_zoo.errors import UserError
from cnn_zoo.pretrained.state_dicts import check_separate, select_state_dict

PLAIN = {"conv.weight": np.ones((2, 3)), "conv.bias": np.zeros(2)}
OTHER = {name: x + 1 for name, x in PLAIN.items()}


def prefixed(prefix):
  return {prefix + name: x for name, x in PLAIN.items()}


@pytest.mark.parametrize(
  ("state", "notes"),
  [
    (PLAIN, []),
    (prefixed("module."), ["removed the prefix 'module.'"]),
    (prefixed("_orig_mod."), ["removed the prefix '_orig_mod.'"]),
    (prefixed("module._orig_mod."), ["removed the prefix 'module.'", "removed the prefix '_orig_mod.'"]),
    (
      {"conv._orig_mod.weight": PLAIN["conv.weight"], "conv.bias": PLAIN["conv.bias"]},
      ["removed '_orig_mod.' within names"],
    ),
    ({"model": PLAIN, "epoch": 3}, ["took the entry 'model'"]),
    ({"state_dict": prefixed("model.")}, ["took the entry 'state_dict'", "removed the prefix 'model.'"]),
    ({"state_dict": OTHER, "state_dict_ema": PLAIN}, ["took the entry 'state_dict_ema' instead of 'state_dict'"]),
    ({"state_dict": PLAIN, "state_dict_ema": None}, ["took the entry 'state_dict'"]),
    ({"state_dict": {"model": PLAIN}}, ["took the entry 'state_dict'", "took the entry 'model'"]),
    (
      {"model": OTHER, "model_ema": {"n_averaged": np.asarray(7), **prefixed("module.")}},
      ["took the entry 'model_ema' instead of 'model'", "removed the prefix 'module.'"],
    ),
    ({"bn.num_batches_tracked": np.asarray(3), **PLAIN}, []),
  ],
)
def test_select(state, notes):
  tensors, says = select_state_dict(state)
  assert list(tensors) == list(PLAIN) and all(tensors[name] is PLAIN[name] for name in PLAIN)
  assert says == notes


def test_a_prefix_of_some_names_stays():
  state = {"module.weight": PLAIN["conv.weight"], "fc.bias": PLAIN["conv.bias"]}
  assert select_state_dict(state) == (state, [])


def test_unknown_entries():
  with pytest.raises(
    UserError, match="hold no tensors by name, but epoch, network; valid: a state dict, or state_dict"
  ):
    select_state_dict({"epoch": 3, "network": PLAIN})


NUMBERS = np.arange(24.0)


def strided(offset, shape, strides):
  return np.lib.stride_tricks.as_strided(NUMBERS[offset:], shape, [8 * stride for stride in strides])


@pytest.mark.parametrize(
  "tensors",
  [
    {"a": NUMBERS[:8], "b": NUMBERS[8:], "c": np.arange(3.0)},
    {"left": NUMBERS.reshape(4, 6)[:, :3], "right": NUMBERS.reshape(4, 6)[:, 3:]},  # their extents overlap
    {
      "a": NUMBERS.reshape(2, 3, 4).transpose(2, 0, 1),
      "empty": NUMBERS[3:3],
      "one": strided(0, (1, 24), (0, 1))[:, :0],
    },
    {"scalar": NUMBERS[5:6].reshape(()), "a": NUMBERS[6:], "b": NUMBERS[:5]},
  ],
)
def test_separate_tensors(tensors):
  check_separate(tensors)


@pytest.mark.parametrize(
  ("tensors", "says"),
  [
    ({"a": NUMBERS[:8], "b": NUMBERS[7:]}, "'b' overlaps 'a'"),
    ({"a": NUMBERS, "b": NUMBERS[2:4], "c": NUMBERS[20:]}, "'b' overlaps 'a'"),
    ({"a": NUMBERS, "b": NUMBERS}, "'b' overlaps 'a'"),
    ({"a": NUMBERS[:8], "scalar": NUMBERS[7:8].reshape(())}, "'scalar' overlaps 'a'"),
    ({"a": strided(0, (3, 4), (0, 1))}, "elements of 'a' overlap"),
    ({"a": strided(0, (3, 4), (3, 1))}, "elements of 'a' overlap"),
  ],
)
def test_tensors_that_overlap(tensors, says):
  with pytest.raises(UserError, match=f"^the weights are damaged: {says}$"):
    check_separate(tensors)

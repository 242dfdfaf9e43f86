"""What people hand in as a state dict, and which of it is taken."""

import numpy as np
import pytest

from cnn_zoo.errors import UserError
from cnn_zoo.pretrained.state_dicts import select_state_dict

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

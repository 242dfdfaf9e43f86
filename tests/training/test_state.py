"""What a training run carries from step to step."""

import jax
import numpy as np
import optax
import pytest

from cnn_zoo.training.state import initial_state, tensor_shapes


def test_names_of_tensors():
  weights = {"params": {"blocks": [{"kernel": np.ones((3, 4))}], "norm": {"scale": np.ones(4)}}, "batch_stats": {}}
  assert tensor_shapes(weights) == {"blocks.0.kernel": (3, 4), "norm.scale": (4,)}


@pytest.mark.parametrize("ema", [True, False])
def test_initial_state(ema):
  """Sums are float32, whatever a task's are; averages start as the weights."""
  params, statistics = {"kernel": np.full((2, 3), 5.0)}, {"mean": np.zeros(3)}
  state = initial_state(params, statistics, optax.sgd(0.1, momentum=0.9), ema, {"correct": np.int32(0)})
  assert state.step == 0 and state.ema == ({"params": params, "batch_stats": statistics} if ema else {})
  assert {name: (float(x), x.dtype) for name, x in state.metrics.items()} == dict.fromkeys(
    ("correct", "grad_norm", "steps"), (0.0, np.float32)
  )
  assert [x.shape for x in jax.tree.leaves(state.optimizer)] == [(2, 3)]

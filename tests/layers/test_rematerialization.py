"""Blocks with and without keeping what is inside them for the backward pass."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from cnn_zoo.layers import Linear, run_blocks


class Block(nnx.Module):
  """Keeps two values of the size of its input for the gradient, and counts its calls."""

  def __init__(self, rngs):
    self.layer, self.calls = Linear(4, 4, rngs=rngs), nnx.BatchStat(jnp.zeros(()))

  def __call__(self, x):
    self.calls.set_value(self.calls[...] + 1)
    return jnp.sin(jnp.cos(self.layer(x)))


@pytest.mark.parametrize("remat", [False, True])
def test_values_state_and_what_is_kept(remat):
  rngs = nnx.Rngs(0)
  blocks, x = [Block(rngs) for _ in range(3)], jax.random.normal(jax.random.key(1), (256, 4))

  def plain(x):
    for block in blocks:
      x = jnp.sin(jnp.cos(block.layer(x)))
    return x

  graph, state = nnx.split(nnx.List(blocks))

  def run(state, x):
    model = nnx.merge(graph, state)
    return run_blocks(model, x, remat=remat), nnx.to_pure_dict(nnx.state(model, nnx.BatchStat))

  y, pull, statistics = jax.vjp(run, state, x, has_aux=True)
  np.testing.assert_allclose(y, plain(x), rtol=1e-6)
  assert [float(count) for count in jax.tree.leaves(statistics)] == [1, 1, 1]
  kept = sum(leaf.size == x.size for leaf in jax.tree.leaves(pull))
  assert kept == 3 if remat else kept > 6  # the inputs of the blocks alone
  direct = jax.grad(lambda x: jnp.sum(jnp.sin(plain(x))))(x)
  np.testing.assert_allclose(pull(jnp.cos(y))[1], direct, rtol=1e-4, atol=1e-6)

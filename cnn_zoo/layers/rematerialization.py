"""Running blocks one after another, with or without keeping what is inside them for the backward pass."""

from collections.abc import Iterable

import jax
from flax import nnx


def run_blocks(blocks: Iterable[nnx.Module], x: jax.Array, *, remat: bool = False) -> jax.Array:
  """x through all `blocks`.

  Args:
    blocks: modules, each applied to the output of the one before.
    x: the input of the first.
    remat: recomputes a block's inner activations in the backward pass instead of keeping them, which costs about a
      third more time and saves most of the memory (Chen et al. 2016, Training deep nets with sublinear memory cost).

  Returns:
    The output of the last block.

  Example:
    >>> import jax.numpy as jnp
    >>> from flax import nnx
    >>> from cnn_zoo.layers import Linear, run_blocks
    >>> layers = [Linear(4, 4, rngs=nnx.Rngs(0)) for _ in range(3)]
    >>> run_blocks(layers, jnp.ones((2, 4)), remat=True).shape
    (2, 4)
  """
  for block in blocks:
    x = _rematerialized(block, x) if remat else block(x)
  return x


@nnx.remat
def _rematerialized(block, x):
  return block(x)

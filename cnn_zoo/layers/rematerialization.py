"""Running blocks one after another, with or without keeping what is inside them for the backward pass."""

from collections.abc import Iterable

import jax
from flax import nnx


def run_blocks(blocks: Iterable[nnx.Module], x: jax.Array, *, remat: bool = False) -> jax.Array:
  """x through all `blocks`.

  With `remat` a block's inner activations are computed a second time in the backward pass in place of being kept, which
  costs about a third more time and saves most of the memory (Chen et al. 2016, Training deep nets with sublinear
  memory cost).
  """
  for block in blocks:
    x = _rematerialized(block, x) if remat else block(x)
  return x


@nnx.remat
def _rematerialized(block, x):
  return block(x)

"""Pooling over the spatial axes of channels-last batches, of any rank."""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from cnn_zoo.convolutions.arithmetic import Padding, per_axis, resolve_padding


def global_average_pool(x: jax.Array) -> jax.Array:
  """The mean over all positions: [batch, *spatial, channels] -> [batch, channels]."""
  return jnp.mean(x, axis=tuple(range(1, x.ndim - 1)))


def average_pool(
  x: jax.Array, window: Sequence[int], strides: int | Sequence[int], padding: Padding = "VALID"
) -> jax.Array:
  """The mean of each window, padding counted as zeros: [batch, *spatial, channels] -> [batch, *output, channels]."""
  return _reduce(x, window, strides, padding, 0.0, lax.add) / math.prod(window)


def max_pool(
  x: jax.Array, window: Sequence[int], strides: int | Sequence[int], padding: Padding = "VALID"
) -> jax.Array:
  """The largest element of each window: [batch, *spatial, channels] -> [batch, *output, channels]."""
  return _reduce(x, window, strides, padding, -jnp.inf, lax.max)


def _reduce(x, window, strides, padding, start, operation):
  rank = x.ndim - 2
  strides = per_axis("strides", strides, rank)
  padding = resolve_padding(padding, x.shape[1:-1], window, strides, (1,) * rank)
  full = (1, *window, 1), (1, *strides, 1), ((0, 0), *padding, (0, 0))
  return lax.reduce_window(x, np.asarray(start, x.dtype), operation, *full)

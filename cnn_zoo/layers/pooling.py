"""Pooling over the spatial axes of channels-last batches, of any rank.

Each layer runs in a scope of its own name, by which profiles and `cnn_zoo.describe` identify it.
"""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from cnn_zoo.convolutions.arithmetic import Padding, per_axis, resolve_padding
from cnn_zoo.convolutions.lowerings.choice import Rule, choose
from cnn_zoo.errors import InputTooSmallError
from cnn_zoo.layers.shifted_max_pool import shifted_max_pool


@jax.named_scope("global_average_pool")
def global_average_pool(x: jax.Array) -> jax.Array:
  """The mean over all positions.

  Args:
    x: [batch, *spatial, channels].

  Returns:
    [batch, channels].

  >>> global_average_pool(jnp.arange(4.0).reshape(1, 2, 2, 1)).tolist()
  [[1.5]]
  """
  return jnp.mean(x, axis=tuple(range(1, x.ndim - 1)))


@jax.named_scope("adaptive_average_pool")
def adaptive_average_pool(x: jax.Array, sizes: int | Sequence[int]) -> jax.Array:
  """Means over a grid of any `sizes`.

  Along an axis of n, cell i of s is the mean of the elements from floor(i n / s) to ceil((i + 1) n / s) - 1, so that
  cells overlap where s does not divide n (PyTorch's AdaptiveAvgPool).

  Args:
    x: [batch, *spatial, channels].
    sizes: of the grid, for all axes or for each.

  Returns:
    [batch, *sizes, channels].

  Raises:
    UserError: for sizes that do not fit the rank or are below 1.

  >>> adaptive_average_pool(jnp.arange(5.0).reshape(1, 5, 1), 2).ravel().tolist()
  [1.0, 3.0]
  """
  for axis, size in enumerate(per_axis("sizes", sizes, x.ndim - 2), start=1):
    n = x.shape[axis]
    if n != size:
      ranges = ((i * n // size, -(-(i + 1) * n // size)) for i in range(size))
      x = jnp.concatenate([lax.slice_in_dim(x, *r, axis=axis).mean(axis, keepdims=True) for r in ranges], axis)
  return x


@jax.named_scope("average_pool")
def average_pool(
  x: jax.Array, window: Sequence[int], strides: int | Sequence[int], padding: Padding = "VALID"
) -> jax.Array:
  """The mean of each window, padding counted as zeros.

  Args:
    x: [batch, *spatial, channels].
    window: the size of the windows along each spatial axis.
    strides: how far apart the windows are, for all axes or for each.
    padding: as in `Convolution`.

  Returns:
    [batch, *output sizes, channels].

  Raises:
    UserError: for options that do not fit the rank and an input that is smaller than the window.

  >>> average_pool(jnp.arange(4.0).reshape(1, 4, 1), (2,), 2).ravel().tolist()
  [0.5, 2.5]
  """
  return _reduce(x, *_geometry(x, window, strides, padding), 0.0, lax.add) / math.prod(window)


@jax.named_scope("max_pool")
def max_pool(
  x: jax.Array,
  window: Sequence[int],
  strides: int | Sequence[int],
  padding: Padding = "VALID",
  *,
  ceil_mode: bool = False,
) -> jax.Array:
  """The largest element of each window.

  With `ceil_mode` a last window which reaches beyond the input counts too if it begins within (as in Caffe and
  PyTorch): ceil((size - window) / strides) + 1 outputs instead of floor. The gradient goes to the first of equals. A
  window that holds NaN gives NaN, but XLA's own operations on a CPU (`lowering("lax")`) may lose it.

  Args:
    x: as in `average_pool`.
    window: as in `average_pool`.
    strides: as in `average_pool`.
    padding: as in `average_pool`; padding is never the largest.
    ceil_mode: whether the last window may reach beyond the input.

  Returns:
    [batch, *output sizes, channels].

  Raises:
    UserError: as `average_pool`.

  >>> x = jnp.asarray([1.0, 3.0, 2.0, 0.0, 5.0]).reshape(1, 5, 1)
  >>> max_pool(x, (2,), 2).ravel().tolist(), max_pool(x, (2,), 2, ceil_mode=True).ravel().tolist()
  ([3.0, 2.0], [3.0, 2.0, 5.0])
  """
  window, strides, padding = _geometry(x, window, strides, padding, ceil_mode)
  return choose(MAX_POOL_RULES, _xla_max_pool, window)(x, window, strides, padding)


def _xla_max_pool(x, window, strides, padding):
  return _reduce(x, window, strides, padding, -jnp.inf, lax.max)


def _small_window(window):
  """Large windows would be large programs."""
  return math.prod(window) <= 32


# XLA's gradient of a maximum over windows is 5 to 20 times slower on a CPU.
MAX_POOL_RULES = (Rule("cpu", _small_window, shifted_max_pool),)


def _geometry(x, window, strides, padding, ceil_mode=False):
  """Window, strides and padding of each axis; raises UserError unless there is an output."""
  rank = x.ndim - 2
  sizes, window, strides = x.shape[1:-1], per_axis("window", window, rank), per_axis("strides", strides, rank)
  pairs = resolve_padding(padding, sizes, window, strides, (1,) * rank)
  if ceil_mode:
    pairs = tuple(map(_ceil_padding, sizes, window, strides, pairs))
  if any(size + sum(pair) < k for size, pair, k in zip(sizes, pairs, window, strict=True)):
    error = InputTooSmallError(f"input {x.shape} is too small for a pooling window={window} with padding={padding}")
    error.in_pooling = True
    raise error
  return window, strides, pairs


def _ceil_padding(size, window, stride, padding):
  """(before, after) of one axis, with as much more after as the last window needs."""
  low, high = padding
  last = -(-(size + low + high - window) // stride) * stride  # where the last window begins
  return low, high + max(last + window - (size + low + high), 0) if last < size + low else high


def _reduce(x, window, strides, padding, start, operation):
  full = (1, *window, 1), (1, *strides, 1), ((0, 0), *padding, (0, 0))
  return lax.reduce_window(x, np.asarray(start, x.dtype), operation, *full)

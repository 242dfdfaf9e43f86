"""Max-pooling as the maximum of shifted inputs, one for each place in the window.

XLA's own backward pass (select-and-scatter) visits one window after another on a CPU. Here the forward pass keeps which
place of its window each maximum came from, and the backward pass asks every input whether it was the one. Both are
elementwise operations, which XLA vectorises over the channels.
"""

import functools
import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from cnn_zoo.convolutions.lowerings.derivatives import form


def shifted_max_pool(x, window, strides, padding):
  """The largest element of each window; the gradient goes to the first one, in row-major order, that is as large.

  A NaN is larger than any number, and of several the last one counts, as in PyTorch.

  Args:
    x: [batch, *spatial, channels].
    window: one size for each spatial axis.
    strides: one for each spatial axis.
    padding: (before, after) for each spatial axis.

  Returns:
    [batch, *output sizes, channels]; the output must not be empty.
  """
  return _pool(x, window, strides, padding)


@functools.partial(jax.custom_jvp, nondiff_argnums=(1, 2, 3))
@functools.partial(jax.jit, static_argnums=(1, 2, 3))  # traced once for all layers of a shape
def _pool(x, window, strides, padding):
  return functools.reduce(jnp.maximum, _shifted(x, window, strides, padding, -jnp.inf))


@_pool.defjvp
def _pool_jvp(window, strides, padding, primals, tangents):
  (x,), (tangent,) = primals, tangents
  y, place = _pool_with_places(x, window, strides, padding)
  static = (window, strides, padding)
  return y, _selection.derivative(1, (tangent,), (x.shape[1:], y.shape[1:]), static, constants=(place,))


@functools.partial(jax.jit, static_argnums=(1, 2, 3))
def _pool_with_places(x, window, strides, padding):
  """Each window's maximum, and the code of its place (`_codes`)."""
  best: Any = None
  place: Any = None
  shifted = _shifted(x, window, strides, padding, -jnp.inf)
  for code, values in zip(_codes(window, strides), shifted, strict=True):
    if best is None:
      best, place = values, jnp.full(values.shape, code)
    else:
      larger = (values > best) | jnp.isnan(values)
      best, place = jnp.where(larger, values, best), jnp.where(larger, code, place)
  return lax.optimization_barrier((best, place))  # without it, XLA computes the places again in the backward pass


def _select(x, place, *, shape, static):
  """The elements of x at the places, one for each window."""
  del shape
  codes, shifted = _codes(*static[:2]), _shifted(x, *static, 0)
  return sum(jnp.where(place == code, values, 0) for code, values in zip(codes, shifted, strict=True))


def _put_back(g, place, *, shape, static):
  """For each input, the sum of the elements of g whose window has it at its place.

  Input s * b + r (of stride s, remainder r, padding counted) is place s * k + r of the window of output b - k.
  """
  window, strides, padding = static
  spans, sizes = _spans(window, strides), shape[:-1]
  overlaps = [span // s for span, s in zip(spans, strides, strict=True)]  # how many windows see an input, per axis
  outs = g.shape[1:-1]
  blocks = [
    max(out + overlap - 1, -(-(low + size) // s))
    for out, overlap, (low, _), size, s in zip(outs, overlaps, padding, sizes, strides, strict=True)
  ]
  edges = [(0, 0, 0), *((k - 1, b - out, 0) for k, b, out in zip(overlaps, blocks, outs, strict=True)), (0, 0, 0)]
  g, place = lax.optimization_barrier(tuple(lax.pad(a, jnp.zeros((), a.dtype), edges) for a in (g, place)))
  remainders = np.meshgrid(*(np.arange(stride) for stride in strides), indexing="ij")
  # [batch, block, remainder, block, remainder, ..., channels]
  broadcast = (1, *(n for s in strides for n in (1, s)), 1)
  total: Any = 0
  for back in itertools.product(*map(range, overlaps)):
    where = tuple(r + k * s for r, k, s in zip(remainders, back, strides, strict=True))
    codes = np.ravel_multi_index(where, spans).astype(place.dtype).reshape(broadcast)
    cut = [slice(None), *(slice(k - 1 - b, k - 1 - b + n) for k, b, n in zip(overlaps, back, blocks, strict=True))]
    windows = (g.shape[0], *(n for b in blocks for n in (b, 1)), g.shape[-1])
    total += jnp.where(place[tuple(cut)].reshape(windows) == codes, g[tuple(cut)].reshape(windows), 0)
  total = total.reshape(g.shape[0], *(b * s for b, s in zip(blocks, strides, strict=True)), g.shape[-1])
  return total[(slice(None), *(slice(low, low + n) for (low, _), n in zip(padding, sizes, strict=True)))]


# Linear in x and y for given places: the tangent of the pooling is `_select`, its gradient `_put_back`.
_selection = form(_put_back, _select, batched=(True, True, True))


def _spans(window, strides):
  """The window's sizes, rounded up to multiples of the strides."""
  return tuple(-(-k // s) * s for k, s in zip(window, strides, strict=True))


def _codes(window, strides):
  """A number for each place in the window, in row-major order, of the smallest dtype that holds all of them."""
  spans = _spans(window, strides)
  dtype = np.min_scalar_type(np.prod(spans) - 1)
  return [np.asarray(np.ravel_multi_index(where, spans), dtype) for where in itertools.product(*map(range, window))]


def _shifted(x, window, strides, padding, fill):
  """For each place in the window, in row-major order, what all windows have there."""
  outs = [(n + sum(p) - k) // s + 1 for n, p, k, s in zip(x.shape[1:-1], padding, window, strides, strict=True)]
  if any(map(any, padding)):
    edges = [(0, 0, 0), *((low, high, 0) for low, high in padding), (0, 0, 0)]
    # Without the barrier XLA would fuse the padding into every place and test each element for being inside.
    x = lax.optimization_barrier(lax.pad(x, jnp.asarray(fill, x.dtype), edges))
  for where in itertools.product(*map(range, window)):
    ends = [i + s * (out - 1) + 1 for i, s, out in zip(where, strides, outs, strict=True)]
    yield lax.slice(x, (0, *where, 0), (x.shape[0], *ends, x.shape[-1]), (1, *strides, 1))

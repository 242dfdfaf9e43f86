"""Max-pooling as the maximum of shifted inputs, one for each place in the window.

XLA's own backward pass (select-and-scatter) visits one window after another on a CPU. Here the forward pass keeps which
place of its window each maximum came from, and the backward pass asks every input whether it was the one: elementwise
operations both, which XLA vectorises over the channels.
"""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax


def shifted_max_pool(x, window, strides, padding):
  """The largest element of each window; the gradient goes to the first one, in row-major order, that is as large.

  A NaN is larger than any number, and of several the last one counts, as in PyTorch.

  Args:
    x: [batch, *spatial, channels].
    window, strides: one a spatial axis.
    padding: (before, after) for each spatial axis.

  Returns:
    [batch, *output sizes, channels]; the output must not be empty.
  """
  return _pool(x, window, strides, padding, x.shape[1:-1])


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2, 3, 4))
@functools.partial(jax.jit, static_argnums=(1, 2, 3, 4))  # traced once for all layers of a shape
def _pool(x, window, strides, padding, sizes):
  return functools.reduce(jnp.maximum, _shifted(x, window, strides, padding))


@functools.partial(jax.jit, static_argnums=(1, 2, 3, 4))
def _pool_fwd(x, window, strides, padding, sizes):
  spans = _spans(window, strides)
  best = place = None
  for where, values in zip(itertools.product(*map(range, window)), _shifted(x, window, strides, padding), strict=True):
    code = np.asarray(np.ravel_multi_index(where, spans), np.min_scalar_type(np.prod(spans) - 1))
    if best is None:
      best, place = values, jnp.full(values.shape, code)
    else:
      larger = (values > best) | jnp.isnan(values)
      best, place = jnp.where(larger, values, best), jnp.where(larger, code, place)
  return lax.optimization_barrier((best, place))  # without it, XLA computes the places once more in the backward pass


@functools.partial(jax.jit, static_argnums=(0, 1, 2, 3))
def _pool_bwd(window, strides, padding, sizes, place, g):
  """Input s * b + r (of stride s, remainder r, padding counted) is place s * k + r of the window of output b - k."""
  spans = _spans(window, strides)
  overlaps = [span // s for span, s in zip(spans, strides, strict=True)]  # how many windows see an input, per axis
  outs = g.shape[1:-1]
  blocks = [
    max(out + overlap - 1, -(-(low + size) // s))
    for out, overlap, (low, _), size, s in zip(outs, overlaps, padding, sizes, strides, strict=True)
  ]
  edges = [(0, 0, 0), *((k - 1, b - out, 0) for k, b, out in zip(overlaps, blocks, outs, strict=True)), (0, 0, 0)]
  g, place = lax.optimization_barrier(tuple(lax.pad(a, jnp.zeros((), a.dtype), edges) for a in (g, place)))
  remainders = np.meshgrid(*map(np.arange, strides), indexing="ij")
  broadcast = (
    1,
    *(n for s in strides for n in (1, s)),
    1,
  )  # [batch, block, remainder, block, remainder, ..., channels]
  total = 0
  for back in itertools.product(*map(range, overlaps)):
    where = tuple(r + k * s for r, k, s in zip(remainders, back, strides, strict=True))
    codes = np.ravel_multi_index(where, spans).astype(place.dtype).reshape(broadcast)
    cut = [slice(None), *(slice(k - 1 - b, k - 1 - b + n) for k, b, n in zip(overlaps, back, blocks, strict=True))]
    windows = (g.shape[0], *(n for b in blocks for n in (b, 1)), g.shape[-1])
    total += jnp.where(place[tuple(cut)].reshape(windows) == codes, g[tuple(cut)].reshape(windows), 0)
  total = total.reshape(g.shape[0], *(b * s for b, s in zip(blocks, strides, strict=True)), g.shape[-1])
  return (total[(slice(None), *(slice(low, low + n) for (low, _), n in zip(padding, sizes, strict=True)))],)


_pool.defvjp(_pool_fwd, _pool_bwd)


def _spans(window, strides):
  """The window's sizes, rounded up to multiples of the strides."""
  return tuple(-(-k // s) * s for k, s in zip(window, strides, strict=True))


def _shifted(x, window, strides, padding):
  """For each place in the window, in row-major order, what all windows have there."""
  outs = [(n + sum(p) - k) // s + 1 for n, p, k, s in zip(x.shape[1:-1], padding, window, strides, strict=True)]
  if any(map(any, padding)):
    edges = [(0, 0, 0), *((low, high, 0) for low, high in padding), (0, 0, 0)]
    # Without the barrier XLA would fuse the padding into every place and test each element for being inside.
    x = lax.optimization_barrier(lax.pad(x, jnp.asarray(-jnp.inf, x.dtype), edges))
  for where in itertools.product(*map(range, window)):
    ends = [i + s * (out - 1) + 1 for i, s, out in zip(where, strides, outs, strict=True)]
    yield lax.slice(x, (0, *where, 0), (x.shape[0], *ends, x.shape[-1]), (1, *strides, 1))

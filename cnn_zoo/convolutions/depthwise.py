"""Depthwise convolution as a sum over the kernel's taps of shifted inputs times the tap.

XLA's CPU convolution runs a depthwise layer as one tiny matrix product per channel, 50 to 100 times slower than the
memory allows. A tap's contribution is an elementwise product over [batch, *spatial, channels], which XLA vectorises
over channels and fuses over taps.
"""

import functools
import itertools

import jax
import jax.numpy as jnp
from jax import lax


def _reachable(size, out, kernel, stride, pad, dilation):
  """The range of taps along one axis that see an input element; the others only ever multiply padding."""
  seen = [
    tap for tap in range(kernel) if any(0 <= tap * dilation - pad[0] + stride * o < size for o in range(out))
  ] or [0]
  return range(seen[0], seen[-1] + 1)


def _geometry(x, kernel, strides, padding, dilation):
  """Reachable taps, output sizes and the padding which those taps need, for x [batch, *spatial, channels]."""
  sizes, kernel_size = x.shape[1:-1], kernel.shape[:-2]
  axes = list(zip(sizes, kernel_size, strides, padding, dilation, strict=True))
  outs = [(size + sum(pad) - d * (k - 1) - 1) // s + 1 for size, k, s, pad, d in axes]
  taps = [_reachable(size, out, k, s, pad, d) for out, (size, k, s, pad, d) in zip(outs, axes, strict=True)]
  # Position of the first and last element that a reachable tap reads, relative to the unpadded input.
  lows = [t[0] * d - pad[0] for t, (_, _, _, pad, d) in zip(taps, axes, strict=True)]
  highs = [t[-1] * d - pad[0] + s * (out - 1) for t, out, (_, _, s, pad, d) in zip(taps, outs, axes, strict=True)]
  edges = [(-low, high - size + 1) for low, high, size in zip(lows, highs, sizes, strict=True)]
  offsets = [[(tap - t[0]) * d for tap in t] for t, d in zip(taps, dilation, strict=True)]
  return taps, offsets, outs, edges


def _pad(x, edges):
  """x padded (or cropped, where an edge is negative) in its spatial axes, and materialised once.

  Without the barrier XLA would fuse the padding into every tap and test each element for being inside.
  """
  if any(edge != (0, 0) for edge in edges):
    x = lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *((low, high, 0) for low, high in edges), (0, 0, 0)])
  return lax.optimization_barrier(x)


@functools.partial(jax.jit, static_argnums=(2, 3, 4))  # traced once for all layers of a shape
def _forward(x, kernel, strides, padding, dilation):
  taps, offsets, outs, edges = _geometry(x, kernel, strides, padding, dilation)
  x = _pad(x, edges)
  total = None
  for tap, offset in zip(itertools.product(*taps), itertools.product(*offsets), strict=True):
    limits = [o + s * (out - 1) + 1 for o, out, s in zip(offset, outs, strides, strict=True)]
    window = lax.slice(x, (0, *offset, 0), (x.shape[0], *limits, x.shape[-1]), (1, *strides, 1))
    term = window * kernel[(*tap, 0)]
    total = term if total is None else total + term
  return total


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def depthwise(x, kernel, strides, padding, dilation):
  """Depthwise convolution of any rank.

  Args:
    x: [batch, *spatial, channels].
    kernel: [*kernel_size, 1, channels].
    strides: one a spatial axis.
    padding: (before, after) for each spatial axis.
    dilation: one a spatial axis.

  Returns:
    [batch, *output sizes, channels]; the output must not be empty.
  """
  return _forward(x, kernel, strides, padding, dilation)


def _depthwise_fwd(x, kernel, strides, padding, dilation):
  return _forward(x, kernel, strides, padding, dilation), (x, kernel)


def _depthwise_bwd(strides, padding, dilation, residuals, g):
  x, kernel = residuals
  return _input_gradient(x, kernel, g, strides, padding, dilation), _kernel_gradient(
    x, kernel, g, strides, padding, dilation
  )


def _input_gradient(x, kernel, g, strides, padding, dilation):
  """The convolution of g, with strides - 1 zeros between its elements, by the reversed kernel."""
  spans = [d * (k - 1) for k, d in zip(kernel.shape[:-2], dilation, strict=True)]
  widths = [(n - 1) * s + 1 for n, s in zip(g.shape[1:-1], strides, strict=True)]
  lows = [span - pad[0] for span, pad in zip(spans, padding, strict=True)]
  highs = [size + span - width - low for size, span, width, low in zip(x.shape[1:-1], spans, widths, lows, strict=True)]
  if any(s > 1 for s in strides):
    config = [(0, 0, 0), *((0, 0, s - 1) for s in strides), (0, 0, 0)]
    g = lax.pad(g, jnp.zeros((), g.dtype), config)
  reversed_kernel = jnp.flip(kernel, range(len(strides)))
  ones = (1,) * len(strides)
  return _forward(g, reversed_kernel, ones, tuple(zip(lows, highs, strict=True)), dilation)


@functools.partial(jax.jit, static_argnums=(3, 4, 5))
def _kernel_gradient(x, kernel, g, strides, padding, dilation):
  """One fused multiply-and-reduce per tap. A loop, because XLA compiles all taps in one fusion to far slower code."""
  taps, offsets, outs, edges = _geometry(x, kernel, strides, padding, dilation)
  x = _pad(x, edges)
  g = lax.optimization_barrier(g)
  axes = tuple(range(g.ndim - 1))
  spans = [s * (out - 1) + 1 for out, s in zip(outs, strides, strict=True)]

  def one_tap(offset):
    window = lax.dynamic_slice(x, (0, *offset, 0), (x.shape[0], *spans, x.shape[-1]))
    window = lax.slice(window, (0,) * x.ndim, window.shape, (1, *strides, 1))
    return jnp.sum(window * g, axes, dtype=jnp.float32)

  grid = jnp.asarray(list(itertools.product(*offsets)), jnp.int32)
  values = lax.map(one_tap, tuple(grid.T)) if len(grid) > 1 else one_tap(tuple(grid[0]))[None]
  values = values.reshape(*map(len, taps), 1, kernel.shape[-1]).astype(kernel.dtype)
  unreached = [(t[0], k - 1 - t[-1]) for t, k in zip(taps, kernel.shape[:-2], strict=True)]
  return jnp.pad(values, [*unreached, (0, 0), (0, 0)])


depthwise.defvjp(_depthwise_fwd, _depthwise_bwd)

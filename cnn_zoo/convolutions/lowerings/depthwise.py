"""Depthwise convolution as a sum over the kernel's taps of shifted inputs times the tap.

XLA's CPU convolution runs a depthwise layer as one tiny matrix product per channel, 50 to 100 times slower than the
memory allows. A tap's contribution is an elementwise product over [batch, *spatial, channels], which XLA vectorises
over channels and fuses over taps.
"""

import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from cnn_zoo.convolutions.arithmetic import output_sizes

_LARGE = 1.5e7  # multiply-adds from which the gradient by the kernel goes by rows, which takes longer to compile


def _geometry(x, kernel, strides, padding, dilation):
  """Offsets of the taps along each axis, output sizes and the padding they need, for x [batch, *spatial, channels]."""
  sizes, kernel_size = x.shape[1:-1], kernel.shape[:-2]
  outs = output_sizes(sizes, kernel_size, strides, padding, dilation)
  offsets = [range(0, k * d, d) for k, d in zip(kernel_size, dilation, strict=True)]
  # What lies behind the last element that a tap reads is cut off.
  ends = [
    offset[-1] + s * (out - 1) + 1 - low - size
    for offset, out, s, (low, _), size in zip(offsets, outs, strides, padding, sizes, strict=True)
  ]
  return offsets, outs, [(low, end) for (low, _), end in zip(padding, ends, strict=True)]


def _pad(x, edges):
  """x padded (or cropped, where an edge is negative) in its spatial axes, and materialised once.

  Without the barrier XLA would fuse the padding into every tap and test each element for being inside.
  """
  if any(edge != (0, 0) for edge in edges):
    x = lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *((low, high, 0) for low, high in edges), (0, 0, 0)])
  return lax.optimization_barrier(x)


@functools.partial(jax.jit, static_argnums=(2, 3, 4))  # traced once for all layers of a shape
def _forward(x, kernel, strides, padding, dilation):
  offsets, outs, edges = _geometry(x, kernel, strides, padding, dilation)
  x = _pad(x, edges)
  total = None
  for tap, offset in zip(np.ndindex(*map(len, offsets)), itertools.product(*offsets), strict=True):
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
  offsets, _, edges = _geometry(x, kernel, strides, padding, dilation)
  x = _pad(x, edges)
  g = lax.optimization_barrier(g)
  by_rows = len(strides) == 2 and g.size * math.prod(kernel.shape[:-2]) >= _LARGE
  values = (_by_rows if by_rows else _by_taps)(x, g, offsets, strides)
  return values.reshape(kernel.shape).astype(kernel.dtype)


def _by_taps(x, g, offsets, strides):
  """One multiply-and-reduce per tap. A loop, because XLA compiles all taps in one fusion to far slower code."""
  axes = tuple(range(g.ndim - 1))
  spans = [s * (out - 1) + 1 for out, s in zip(g.shape[1:-1], strides, strict=True)]

  def one_tap(offset):
    window = lax.dynamic_slice(x, (0, *offset, 0), (x.shape[0], *spans, x.shape[-1]))
    window = lax.slice(window, (0,) * x.ndim, window.shape, (1, *strides, 1))
    return jnp.sum(window * g, axes, dtype=jnp.float32)

  grid = jnp.asarray(list(itertools.product(*offsets)), jnp.int32)
  return lax.map(one_tap, tuple(grid.T)) if len(grid) > 1 else one_tap(tuple(grid[0]))


def _by_rows(x, g, offsets, strides):
  """For large images: a few rows of all examples at a time, which stay in the cache while every tap reads them.

  The sums keep the columns of the image apart until the end. So each step is elementwise over [columns, taps of a
  column of the kernel, channels], which XLA vectorises, and not a reduction, which it does not. Steps sum up to 32
  products to write the sums as seldom as the compiler can take.
  """
  batch, height, width, channels = g.shape
  rows = _divisor(height, 4)
  examples = _divisor(batch, 32 // rows)
  down, across = offsets
  spacing = down[1] - down[0] if len(down) > 1 else 1
  reach = strides[0] * (rows - 1) + down[-1] + 1

  def block(arrays):
    x, g = arrays

    def add_rows(index, sums):
      g_rows = lax.dynamic_slice_in_dim(g, index * rows, rows, 1)
      x_rows = lax.dynamic_slice_in_dim(x, index * rows * strides[0], reach, 1)
      g_rows, x_rows = lax.optimization_barrier((g_rows, x_rows))
      return [add_column(total, x_rows, g_rows, left) for total, left in zip(sums, across, strict=True)]

    def add_column(total, x_rows, g_rows, left):
      right = left + strides[1] * (width - 1) + 1
      for example, row in itertools.product(range(examples), range(rows)):
        top = row * strides[0]
        window = x_rows[example, top : top + down[-1] + 1 : spacing, left : right : strides[1]]
        product = window.swapaxes(0, 1).astype(jnp.float32) * g_rows[example, row, :, None].astype(jnp.float32)
        total = total + product
      return total

    start = [jnp.zeros((width, len(down), channels), jnp.float32) for _ in across]
    sums = lax.fori_loop(0, height // rows, add_rows, start)
    return jnp.stack([total.sum(0) for total in sums], 1)

  if examples == batch:
    return block((x, g))
  return lax.map(block, (x.reshape(-1, examples, *x.shape[1:]), g.reshape(-1, examples, *g.shape[1:]))).sum(0)


def _divisor(n, limit):
  """The largest divisor of n up to `limit`."""
  return next(d for d in range(min(n, limit), 0, -1) if n % d == 0)


depthwise.defvjp(_depthwise_fwd, _depthwise_bwd)

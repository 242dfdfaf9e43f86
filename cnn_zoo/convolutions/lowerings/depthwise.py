"""Depthwise convolution as a sum over the kernel's taps of shifted inputs times the tap.

XLA's CPU convolution runs a depthwise layer as one tiny matrix product per channel, 50 to 100 times slower than the
memory allows. A tap's contribution is an elementwise product over [batch, *spatial, channels], which XLA vectorises
over channels and fuses over taps.
"""

import itertools
import math

import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.export import is_symbolic_dim

from cnn_zoo.convolutions.lowerings.derivatives import with_gradients
from cnn_zoo.convolutions.lowerings.windows import Geometry, cut, once, pad, tap_offsets

_LARGE = 1.5e7  # multiply-adds from which the gradient by the kernel goes by rows, which takes longer to compile


def convolve(x, kernel, geometry: Geometry):
  """The convolution of x [batch, *spatial, channels] by kernel [*kernel_size, 1, multiplier * channels].

  The output must not be empty.
  """
  multiplier = kernel.shape[-1] // geometry.groups
  x = jnp.repeat(x, multiplier, -1) if multiplier > 1 else x
  return _convolve(x, kernel, geometry._replace(groups=x.shape[-1]))


def _forward(x, kernel, geometry):
  sizes = geometry.output_sizes(x, kernel)
  x = _padded(x, kernel.shape[:-2], sizes, geometry)
  total = None
  taps = np.ndindex(*kernel.shape[:-2])
  for tap, offset in zip(taps, tap_offsets(kernel.shape[:-2], geometry.dilation), strict=True):
    term = cut(x, offset, sizes, geometry.strides) * kernel[(*tap, 0)]
    total = term if total is None else total + term
  return total


def _padded(x, kernel_size, sizes, geometry):
  """x as the taps read it for outputs of spatial `sizes`: what lies behind the last element that is read is cut off.

  It is computed once. XLA would otherwise fuse the padding into every tap and test each element for being inside.
  """
  strides, padding, dilation, _ = geometry
  read = [d * (k - 1) + s * (n - 1) + 1 for k, d, s, n in zip(kernel_size, dilation, strides, sizes, strict=True)]
  lows = [low for low, _ in padding]
  edges = [(low, end - low - n) for low, end, n in zip(lows, read, x.shape[1:-1], strict=True)]
  return once(pad(x, edges))


def _input_gradient(g, kernel, sizes, geometry):
  """The convolution of g, with strides - 1 zeros between its elements, by the reversed kernel."""
  strides, padding, dilation, _ = geometry
  spans = [d * (k - 1) for k, d in zip(kernel.shape[:-2], dilation, strict=True)]
  widths = [(n - 1) * s + 1 for n, s in zip(g.shape[1:-1], strides, strict=True)]
  lows = [span - low for span, (low, _) in zip(spans, padding, strict=True)]
  highs = [size + span - width - low for size, span, width, low in zip(sizes, spans, widths, lows, strict=True)]
  if any(s > 1 for s in strides):
    config = [(0, 0, 0), *((0, 0, s - 1) for s in strides), (0, 0, 0)]
    g = lax.pad(g, jnp.zeros((), g.dtype), config)
  reversed_kernel = jnp.flip(kernel, range(len(strides)))
  return _forward(
    g,
    reversed_kernel,
    geometry._replace(strides=(1,) * len(strides), padding=tuple(zip(lows, highs, strict=True))),
  )


def _kernel_gradient(x, g, kernel_shape, geometry):
  kernel_size, strides = kernel_shape[:-2], geometry.strides
  x = _padded(x, kernel_size, g.shape[1:-1], geometry)
  g = once(g)
  large = not is_symbolic_dim(g.shape[0]) and g.size * math.prod(kernel_size) >= _LARGE
  offsets = [range(0, k * d, d) for k, d in zip(kernel_size, geometry.dilation, strict=True)]
  values = (_by_rows if large and len(strides) == 2 else _by_taps)(x, g, offsets, strides)
  return values.reshape(kernel_shape).astype(x.dtype)


_convolve = with_gradients(_forward, _input_gradient, _kernel_gradient)


def _by_taps(x, g, offsets, strides):
  """One multiply-and-reduce per tap. A loop, because XLA compiles all taps in one fusion to far slower code."""
  axes = tuple(range(g.ndim - 1))
  spans = [s * (out - 1) + 1 for out, s in zip(g.shape[1:-1], strides, strict=True)]

  def one_tap(offset):
    window = lax.dynamic_slice(x, (0, *offset, 0), (x.shape[0], *spans, x.shape[-1]))
    window = lax.slice(window, (0,) * x.ndim, window.shape, (1, *strides, 1))
    return jnp.sum(window * g, axes, dtype=jnp.float32)

  grid = jnp.asarray(list(itertools.product(*offsets)))  # of the default integers, as the zeros in dynamic_slice
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

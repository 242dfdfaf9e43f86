"""Convolution as one matrix product: the inputs under all taps next to one another (im2col), times the kernel."""

import functools
import math

import jax
import jax.numpy as jnp

from cnn_zoo.convolutions.lowerings.windows import Geometry, cut, once, pad, tap_offsets


@functools.partial(jax.jit, static_argnums=2)  # traced once for all layers of a shape
def convolve(x, kernel, geometry: Geometry):
  """The convolution of x [batch, *spatial, in] by kernel [*kernel_size, in, out], without groups.

  For few input channels or small outputs: the columns hold every input once for each tap.
  """
  sizes = geometry.output_sizes(x, kernel)
  x = pad(x, geometry.padding)
  taps = tap_offsets(kernel.shape[:-2], geometry.dilation)
  columns = once(jnp.concatenate([cut(x, tap, sizes, geometry.strides) for tap in taps], -1))
  y = columns.reshape(-1, columns.shape[-1]) @ kernel.reshape(-1, kernel.shape[-1])
  return y.reshape(x.shape[0], *sizes, kernel.shape[-1])


def kernel_gradient(x, g, kernel_shape, geometry: Geometry):
  """The gradient by the kernel: columns, written with the long axis last, times g [batch, *output, out].

  XLA's CPU product contracts rows up to twice as fast when they are contiguous, and copying along a spatial axis is
  faster than copying a few channels at a time.
  """
  x = once(pad(jnp.moveaxis(x, -1, 0), geometry.padding, first=2))  # [in, batch, *spatial]
  taps = tap_offsets(kernel_shape[:-2], geometry.dilation)
  columns = [cut(x, tap, g.shape[1:-1], geometry.strides, first=2) for tap in taps]
  columns = once(jnp.concatenate(columns)).reshape(-1, math.prod(g.shape[:-1]))
  return (columns @ g.reshape(-1, g.shape[-1])).reshape(kernel_shape)

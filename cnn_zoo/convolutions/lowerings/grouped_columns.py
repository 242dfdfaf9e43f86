"""Grouped convolution as a batch of matrix products, one for each group, over columns that lie group by group.

XLA's CPU convolution computes the gradient by a grouped kernel hundreds of times slower.
"""

import math

import jax.numpy as jnp

from cnn_zoo.convolutions.lowerings.windows import Geometry, cut, once, pad, tap_offsets


def convolve(x, kernel, geometry: Geometry):
  """The grouped convolution of x [batch, *spatial, in] by kernel [*kernel_size, in / groups, out]."""
  groups, area = geometry.groups, math.prod(kernel.shape[:-2])
  sizes = geometry.output_sizes(x, kernel)
  x = pad(x, geometry.padding)
  x = once(jnp.moveaxis(x.reshape(*x.shape[:-1], groups, -1), -2, 0))  # [groups, batch, *spatial, in / groups]
  taps = tap_offsets(kernel.shape[:-2], geometry.dilation)
  columns = once(jnp.concatenate([cut(x, tap, sizes, geometry.strides, first=2) for tap in taps], -1))
  matrices = kernel.reshape(area * kernel.shape[-2], groups, -1).swapaxes(0, 1)
  y = once(columns.reshape(groups, -1, columns.shape[-1]) @ matrices)  # [groups, batch * output, out / groups]
  return y.swapaxes(0, 1).reshape(columns.shape[1], *sizes, -1)

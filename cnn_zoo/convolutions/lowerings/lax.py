"""XLA's own convolutions, on every platform and for every shape."""

import jax.numpy as jnp
from jax import lax

from cnn_zoo.convolutions.lowerings.windows import Geometry


def convolve(x, kernel, geometry: Geometry):
  """The convolution of x [batch, *spatial, in] by kernel [*kernel_size, in / groups, out]."""
  return _convolve(x, kernel, geometry)


def convolve_transposed(x, kernel, geometry: Geometry):
  """The transposed convolution of x [batch, *spatial, in] by kernel [*kernel_size, in / groups, out].

  It is a convolution of x, with strides - 1 zeros between its elements, by the flipped kernel. The padding of
  `geometry` is cut off from the output.
  """
  stretched = geometry.strides
  flipped, geometry = as_convolution(kernel, geometry)
  return _convolve(x, flipped, geometry, lhs_dilation=stretched)


def as_convolution(kernel, geometry: Geometry):
  """The flipped kernel, and the geometry by which it moves over the input of a transposed convolution."""
  spans = [d * (k - 1) for k, d in zip(kernel.shape[:-2], geometry.dilation, strict=True)]
  padding = tuple((span - low, span - high) for span, (low, high) in zip(spans, geometry.padding, strict=True))
  flipped = jnp.flip(kernel, range(len(spans)))
  return flipped, geometry._replace(strides=(1,) * len(spans), padding=padding)


def _convolve(x, kernel, geometry, lhs_dilation=None):
  rank = x.ndim - 2
  letters = "DHW"[3 - rank :] if rank <= 3 else "".join(chr(ord("a") + i) for i in range(rank))
  return lax.conv_general_dilated(
    x,
    kernel,
    geometry.strides,
    geometry.padding,
    lhs_dilation=lhs_dilation,
    rhs_dilation=geometry.dilation,
    dimension_numbers=(f"N{letters}C", f"{letters}IO", f"N{letters}C"),
    feature_group_count=geometry.groups,
  )

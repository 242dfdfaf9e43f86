"""Which lowering computes a convolution: a table by platform and class of shapes.

All lowerings compute the same values; `lax` is the reference. The others are used where they were measured to be faster
(docs/benchmarks.md). A new lowering is a file next to this one, with a function of (x, kernel, geometry), and a row
here.
"""

import functools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax.export import is_symbolic_dim

from cnn_zoo.convolutions.lowerings import (
  columns,
  depthwise,
  few_channels,
  grouped_columns,
  lax,
  matmul,
  overlap_add,
  slices,
  winograd,
  winograd_dilated,
)
from cnn_zoo.convolutions.lowerings.choice import Rule, choose, current_platform
from cnn_zoo.convolutions.lowerings.windows import Geometry, without_idle_taps


def convolve(x: jax.Array, kernel: jax.Array, geometry: Geometry) -> jax.Array:
  """The convolution, by the lowering that the table chooses.

  Args:
    x: [batch, *spatial, in], of a floating-point dtype. The batch may be symbolic, as in `jax.export`.
    kernel: [*kernel_size, in / groups, out], of x's dtype.
    geometry: input channels [g * in / groups, ...) feed output channels [g * out / groups, ...).

  Returns:
    [batch, *output sizes, out].
  """
  if current_platform() in IDLE_TAPS_LEFT_OUT:
    kernel, geometry = without_idle_taps(x, kernel, geometry)
  return choose(RULES, lax.convolve, x, kernel, geometry)(x, kernel, geometry)


def convolve_transposed(x: jax.Array, kernel: jax.Array, geometry: Geometry) -> jax.Array:
  """The transposed convolution, by the lowering that the table chooses.

  Args:
    x: as in `convolve`.
    kernel: as in `convolve`.
    geometry: of the convolution that it transposes. The padding is what is cut off (before, after) each spatial axis of
      the sum of all scaled kernels; below 0 it adds zeros.

  Returns:
    [batch, *output sizes, out].
  """
  if max(geometry.strides) == 1:
    return convolve(x, *lax.as_convolution(kernel, geometry))
  return choose(TRANSPOSED_RULES, lax.convolve_transposed, x, kernel, geometry)(x, kernel, geometry)


_WINOGRAD_MULTIPLY_ADDS = 2e8

# The classes of shapes. Each takes x, kernel and geometry.


def _depthwise(x, kernel, geometry):
  """Every input channel has its own filters."""
  return geometry.groups == x.shape[-1] > 1


def _grouped(x, kernel, geometry):
  return geometry.groups > 1


def _pointwise(x, kernel, geometry):
  """One tap."""
  return geometry.groups == 1 and math.prod(kernel.shape[:-2]) == 1


def _few_channels(x, kernel, geometry):
  """The first layer of a network."""
  return geometry.groups == 1 and x.shape[-1] <= 4 and max(geometry.dilation) == 1


def _volume(x, kernel, geometry):
  return geometry.groups == 1 and len(geometry.strides) == 3


def _small_output(x, kernel, geometry):
  """An output smaller than the kernel, for which XLA's CPU convolution is up to a hundred times slower."""
  sizes = zip(geometry.output_sizes(x, kernel), kernel.shape[:-2], strict=True)
  return geometry.groups == 1 and any(n < k for n, k in sizes)


def _large_3x3(x, kernel, geometry):
  return max(geometry.dilation) == 1 and _worth_winograd(x, kernel, geometry)


def _large_dilated_3x3(x, kernel, geometry):
  """Dilations that leave images of every d-th row and column which are not too small for whole tiles."""
  return 1 < max(geometry.dilation) <= 4 and _worth_winograd(x, kernel, geometry)


def _worth_winograd(x, kernel, geometry):
  """F(2 x 2, 3 x 3) applies, and there is enough work to pay for compiling its some forty kernels."""
  batch = 1 if is_symbolic_dim(x.shape[0]) else x.shape[0]
  return (
    kernel.shape[:-2] == (3, 3)
    and geometry.strides == (1, 1)
    and geometry.groups == 1
    and min(kernel.shape[-2:]) >= 32
    and x.dtype == jnp.float32
    and math.prod((batch, *geometry.output_sizes(x, kernel), *kernel.shape)) >= _WINOGRAD_MULTIPLY_ADDS
  )


def _strided_dense(x, kernel, geometry):
  return geometry.groups == 1 and max(geometry.strides) > 1 and max(geometry.dilation) == 1


# The first row that fits is taken, and lax where none does.
RULES: Sequence[Rule] = (
  Rule("cpu", _depthwise, depthwise.convolve),
  Rule("cpu", _grouped, grouped_columns.convolve),
  Rule("cpu", _pointwise, matmul.convolve),
  Rule("cpu", _few_channels, few_channels.convolve),
  Rule("cpu", _volume, functools.partial(slices.convolve, convolve_planes=convolve)),
  Rule("cpu", _small_output, columns.convolve),
  Rule("cpu", _large_3x3, winograd.convolve),
  Rule("cpu", _large_dilated_3x3, winograd_dilated.convolve),
)
TRANSPOSED_RULES: Sequence[Rule] = (Rule("cpu", _strided_dense, overlap_add.convolve_transposed),)

IDLE_TAPS_LEFT_OUT = ("cpu",)
"""The platforms on which taps that see nothing but padding are left out before a row is chosen."""

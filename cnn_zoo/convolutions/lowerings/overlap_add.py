"""Transposed convolution as one matrix product and a sum of shifted copies."""

import itertools
import math

from cnn_zoo.convolutions.arithmetic import transposed_output_sizes
from cnn_zoo.convolutions.lowerings.windows import Geometry, once, pad


def convolve_transposed(x, kernel, geometry: Geometry):
  """The undilated transposed convolution of x [batch, *spatial, in] by kernel [*kernel_size, in, out], without groups.

  The padding of `geometry` is cut off from the output; where it is below 0, zeros are added.
  """
  strides, crops, dilation, _ = geometry
  sizes = transposed_output_sizes(x.shape[1:-1], kernel.shape[:-2], strides, crops, dilation)
  return _overlap_add(x, kernel, strides, [low for low, _ in crops], sizes)


def input_gradient(g, kernel, sizes, geometry: Geometry):
  """The gradient of an undilated convolution by its input of spatial `sizes`, for the output's gradient g."""
  before = [low for low, _ in geometry.padding]
  return _overlap_add(g, kernel.swapaxes(-1, -2), geometry.strides, before, sizes)


def _overlap_add(x, kernel, strides, crops_before, sizes):
  """Every element of x adds its product with the kernel to the output, `strides` apart.

  The kernel is cut into pieces of `strides` taps. All elements are multiplied by all pieces at once; a piece of one
  element falls on the same outputs as the next piece of the element before, so that pieces are summed whole.

  Args:
    x: [batch, *spatial, in].
    kernel: [*kernel_size, in, out].
    strides: one for each spatial axis.
    crops_before: how many outputs are cut off at the start of each axis.
    sizes: how many outputs are kept in each axis; beyond the last product they are zeros.

  Returns:
    [batch, *sizes, out].
  """
  rank = len(strides)
  features = kernel.shape[-1]
  pieces = [-(-k // s) for k, s in zip(kernel.shape[:rank], strides, strict=True)]
  # [batch, *spatial, *pieces, *strides, out]
  full = [(0, p * s - k) for k, p, s in zip(kernel.shape[:rank], pieces, strides, strict=True)]
  kernel = pad(kernel, full, first=0).reshape(*itertools.chain(*zip(pieces, strides, strict=True)), -1, features)
  kernel = kernel.transpose(2 * rank, *range(0, 2 * rank, 2), *range(1, 2 * rank, 2), 2 * rank + 1)
  products = x.reshape(-1, x.shape[-1]) @ kernel.reshape(x.shape[-1], -1)
  products = products.reshape(*x.shape[:-1], math.prod(pieces), math.prod(strides) * features)
  total = 0
  for index, piece in enumerate(itertools.product(*map(range, pieces))):
    total += pad(products[..., index, :], [(i, p - 1 - i) for i, p in zip(piece, pieces, strict=True)])
  total = once(total)
  lengths = total.shape[1:-1]
  total = total.reshape(x.shape[0], *lengths, *strides, features)
  order = itertools.chain(*((1 + axis, 1 + rank + axis) for axis in range(rank)))
  total = total.transpose(0, *order, 2 * rank + 1)
  total = total.reshape(x.shape[0], *(length * s for length, s in zip(lengths, strides, strict=True)), features)
  ends = [size + crop - n for size, crop, n in zip(sizes, crops_before, total.shape[1:-1], strict=True)]
  return pad(total, [(-crop, end) for crop, end in zip(crops_before, ends, strict=True)])

"""A 3-D convolution as a sum of 2-D ones, one for each tap of the first axis."""

from collections.abc import Callable
from typing import Any

from cnn_zoo.convolutions.lowerings.windows import Geometry, once, pad


def convolve(x, kernel, geometry: Geometry, *, convolve_planes: Callable):
  """The convolution of x [batch, depth, height, width, in] by kernel [*kernel_size, in, out], without groups.

  Args:
    x: as in every lowering.
    kernel: as in every lowering.
    geometry: as in every lowering.
    convolve_planes: the lowering of the 2-D convolutions, each of which takes all slices at once.
  """
  batch, (depth, *_) = x.shape[0], geometry.output_sizes(x, kernel)
  (stride, *strides), (ends, *padding), (step, *dilation), _ = geometry
  x = pad(x, [ends, (0, 0), (0, 0)])
  plane = Geometry(tuple(strides), tuple(padding), tuple(dilation))
  total: Any = 0
  for tap in range(kernel.shape[0]):
    slices = once(x[:, tap * step : tap * step + stride * (depth - 1) + 1 : stride])
    slices = slices.reshape(batch * depth, *x.shape[2:])
    total += convolve_planes(slices, kernel[tap], plane)
  return total.reshape(batch, depth, *total.shape[1:])

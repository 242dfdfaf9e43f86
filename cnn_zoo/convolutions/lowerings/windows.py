"""Cutting and padding the spatial axes of channels-last arrays, which every lowering is made of."""

import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import jax.numpy as jnp
from jax import lax

from cnn_zoo.convolutions.arithmetic import output_sizes


class Geometry(NamedTuple):
  """How a kernel moves over its input: one stride, (before, after) padding and dilation for each spatial axis."""

  strides: tuple[int, ...]
  padding: tuple[tuple[int, int], ...]
  dilation: tuple[int, ...]
  groups: int = 1

  def output_sizes(self, x, kernel) -> tuple[int, ...]:
    """Spatial sizes of the convolution of x [batch, *spatial, in] by kernel [*kernel_size, in / groups, out]."""
    return output_sizes(x.shape[1:-1], kernel.shape[:-2], self.strides, self.padding, self.dilation)


def pad(x, padding: Sequence[tuple[int, int]], first: int = 1):
  """x with zeros (before, after) in its spatial axes, which begin at axis `first`; negative numbers cut off."""
  if not any(map(any, padding)):
    return x
  behind = x.ndim - first - len(padding)
  config = [(0, 0, 0)] * first + [(low, high, 0) for low, high in padding] + [(0, 0, 0)] * behind
  return lax.pad(x, jnp.zeros((), x.dtype), config)


def cut(x, starts: Sequence[int], sizes: Sequence[int], strides: Sequence[int], first: int = 1):
  """The elements starts, starts + strides, ... of x in its spatial axes, `sizes` of them; axes as in `pad`."""
  ends = [start + stride * (size - 1) + 1 for start, size, stride in zip(starts, sizes, strides, strict=True)]
  before, behind = x.shape[:first], x.shape[first + len(ends) :]
  limits = (*before, *ends, *behind)
  return lax.slice(x, (*[0] * first, *starts, *[0] * len(behind)), limits, (*[1] * first, *strides, *[1] * len(behind)))


def tap_offsets(kernel_size: Sequence[int], dilation: Sequence[int]) -> Iterator[tuple[int, ...]]:
  """Where each tap of the kernel lies, in the order of the kernel's elements."""
  return itertools.product(*(range(0, k * d, d) for k, d in zip(kernel_size, dilation, strict=True)))


def without_idle_taps(x, kernel, geometry: Geometry):
  """The kernel and the geometry without the outermost taps that see nothing but padding.

  Of a 3 x 3 kernel over a padded map of 1 x 1 the tap in the middle is left; a dilation wider than the map does the
  same. The output is the same up to the order of summation, and the gradient of the taps left out is zero.
  """
  padding, kept = list(geometry.padding), []
  sizes = geometry.output_sizes(x, kernel)
  for axis, (n, out, taps) in enumerate(zip(x.shape[1:-1], sizes, kernel.shape[:-2], strict=True)):
    stride, dilation, (low, high) = geometry.strides[axis], geometry.dilation[axis], padding[axis]
    starts = [tap * dilation - low for tap in range(taps)]  # what each tap sees first
    busy = [tap for tap, start in enumerate(starts) if any(0 <= start + stride * i < n for i in range(out))]
    first, last = (busy[0], busy[-1]) if busy else (0, taps - 1)
    kept.append(slice(first, last + 1))
    padding[axis] = low - first * dilation, high - (taps - 1 - last) * dilation
  return kernel[tuple(kept)], geometry._replace(padding=tuple(padding))


def once(x):
  """x itself, computed once: XLA would otherwise compute it again inside everything that reads it."""
  return lax.optimization_barrier(x)

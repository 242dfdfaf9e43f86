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
  slices = [slice(None)] * first
  for start, size, stride in zip(starts, sizes, strides, strict=True):
    slices.append(slice(start, start + stride * (size - 1) + 1, stride))
  return x[tuple(slices)]


def tap_offsets(kernel_size: Sequence[int], dilation: Sequence[int]) -> Iterator[tuple[int, ...]]:
  """Where each tap of the kernel lies, in the order of the kernel's elements."""
  return itertools.product(*(range(0, k * d, d) for k, d in zip(kernel_size, dilation, strict=True)))


def once(x):
  """x itself, computed once: XLA would otherwise compute it again inside everything that reads it."""
  return lax.optimization_barrier(x)

"""Checks that every lowering of a convolution passes, and one small example of each."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cnn_zoo.convolutions.arithmetic import output_sizes, resolve_padding
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
from cnn_zoo.convolutions.lowerings.windows import Geometry
from tests.helpers.model_checks import QUICK
from tests.helpers.reference import assert_close, reference

# sizes, kernel, strides, padding, dilation
CASES = [
  ((9,), (3,), 1, "SAME", 1),
  ((11,), (5,), 3, "VALID", 2),
  ((3,), (7,), 1, "SAME", 1),  # smaller than the kernel
  ((6, 7), (3, 3), 1, "SAME", 1),
  ((7, 6), (3, 5), 2, "SAME", 1),
  ((9, 8), (3, 3), 2, 1, 1),
  ((9, 10), (2, 3), 3, ((0, 2), (3, 1)), 1),
  ((11, 9), (3, 2), 1, "VALID", 2),
  ((2, 1), (5, 5), 2, 2, 1),
  ((2, 3), (3, 3), 1, "SAME", 2),
  ((5, 5), (1, 1), 3, 2, 1),  # whole windows inside the padding
  ((5, 4, 3), (3, 2, 3), 1, "SAME", 1),
  ((5, 6, 4), (3, 3, 2), 2, 1, 1),
]


def check(lowering, case, features, *, groups=1, dtype=np.float32, tolerance=1e-5, batch=2):
  """Values and both gradients of a lowering are those of the definition, in its dtype."""
  sizes, kernel_size, strides, padding, dilation = case
  rank = len(kernel_size)
  strides, dilation = (strides,) * rank, (dilation,) * rank
  padding = resolve_padding(padding, sizes, kernel_size, strides, dilation)
  outputs = output_sizes(sizes, kernel_size, strides, padding, dilation)
  in_features, out_features = features
  kernel_shape = (*kernel_size, in_features // groups, out_features)
  x, kernel, g = normal((batch, *sizes, in_features), kernel_shape, (batch, *outputs, out_features), dtype=dtype)

  def run(x, kernel, g):
    geometry = Geometry(strides, padding, dilation, groups)
    y, pull = jax.vjp(lambda x, kernel: lowering(x, kernel, geometry), x, kernel)
    return y, *pull(g)

  actual = jax.jit(run, compiler_options=QUICK)(x, kernel, g)
  assert all(a.dtype == dtype for a in actual)
  x, kernel, g = (np.asarray(a, np.float64) for a in (x, kernel, g))
  for a, e in zip(actual, reference(x, kernel, strides, padding, dilation, groups, g), strict=True):
    assert_close(a, e, tolerance)


def normal(*shapes, dtype=np.float32):
  """Arrays of normal numbers, the same at each call."""
  rng = np.random.default_rng(0)
  return [rng.standard_normal(shape).astype(dtype) for shape in shapes]


class Example(NamedTuple):
  """A lowering, what it computes by XLA's own operations, and shapes that it takes."""

  lowering: Callable
  expected: Callable
  x: tuple[int, ...]
  kernel: tuple[int, ...]
  geometry: Geometry


def _example(lowering, x, kernel, stride=1, padding=1, dilation=1, groups=1, expected=lax.convolve):
  rank = len(x) - 2
  geometry = Geometry((stride,) * rank, ((padding,) * 2,) * rank, (dilation,) * rank, groups)
  return Example(lowering, expected, x, kernel, geometry)


EXAMPLES = {
  "lax": _example(lax.convolve, (2, 7, 6, 4), (3, 3, 2, 6), groups=2),
  "matmul": _example(matmul.convolve, (2, 7, 6, 5), (1, 1, 5, 6), stride=2, padding=0),
  "depthwise": _example(depthwise.convolve, (2, 7, 6, 4), (3, 3, 1, 8), stride=2, groups=4),
  "grouped_columns": _example(grouped_columns.convolve, (2, 7, 6, 4), (3, 3, 2, 6), groups=2),
  "columns": _example(columns.convolve, (2, 3, 2, 5), (3, 3, 5, 4), stride=2),
  "few_channels": _example(few_channels.convolve, (2, 7, 6, 3), (3, 3, 3, 4), stride=2),
  "few_channels, many taps": _example(few_channels.convolve, (2, 9, 8, 3), (6, 5, 3, 4), stride=2),
  "slices": _example(
    functools.partial(slices.convolve, convolve_planes=lax.convolve), (2, 4, 5, 3, 2), (2, 3, 3, 2, 4)
  ),
  "winograd": _example(winograd.convolve, (2, 5, 6, 3), (3, 3, 3, 4)),
  "winograd_dilated": _example(winograd_dilated.convolve, (2, 5, 6, 3), (3, 3, 3, 4), padding=2, dilation=2),
  "overlap_add": _example(
    overlap_add.convolve_transposed, (2, 3, 4, 3), (3, 4, 3, 5), stride=2, expected=lax.convolve_transposed
  ),
}


def forward_mode(function, *primals):
  """Values and tangents of a function of arrays."""
  tangents = tuple(jnp.flip(p) for p in primals)
  return *jax.jvp(function, primals, tangents), jax.linearize(function, *primals)[1](*tangents)


def second_derivatives(function, *primals):
  """Forward over reverse and reverse over reverse mode of a function of arrays."""
  tangents = tuple(jnp.flip(p) for p in primals)

  def gradient(*primals):
    y, pull = jax.vjp(function, *primals)
    return pull(jnp.cos(y))

  def slope(*primals):
    return sum(jnp.vdot(g, t) for g, t in zip(gradient(*primals), tangents, strict=True))

  return *jax.jvp(gradient, primals, tangents), jax.grad(slope, tuple(range(len(primals))))(*primals)

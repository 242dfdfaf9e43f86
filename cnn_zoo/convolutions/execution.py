"""How a convolution is executed: the choice of a lowering by backend and shape, apart from what it means.

Every lowering computes the same values. `lax` is the reference; the others are used where they were measured to be
faster.
"""

import contextlib
import itertools

import jax
import jax.numpy as jnp
from jax import lax

from cnn_zoo.convolutions.depthwise import depthwise
from cnn_zoo.errors import check_name

LOWERINGS = ("auto", "lax")
_lowering = "auto"


@contextlib.contextmanager
def lowering(name: str):
  """Within the context, convolutions that are traced use this lowering: "auto" (the measured best) or "lax"."""
  global _lowering
  check_name("convolution_lowering", name, LOWERINGS)
  previous, _lowering = _lowering, name
  try:
    yield
  finally:
    _lowering = previous


def convolve(x, kernel, strides, padding, dilation, groups):
  """The convolution of x [batch, *spatial, in] by kernel [*kernel_size, in / groups, out].

  Args:
    x: floating-point batch, channels last.
    kernel: of x's dtype.
    strides, dilation: one a spatial axis.
    padding: (before, after) for each spatial axis.
    groups: input channels [g * in / groups, ...) feed output channels [g * out / groups, ...).

  Returns:
    [batch, *output sizes, out].
  """
  return _choose(x, kernel, strides, groups)(x, kernel, strides, padding, dilation, groups)


def convolve_transposed(x, kernel, strides, crops, dilation, groups):
  """The transposed convolution of x [batch, *spatial, in] by kernel [*kernel_size, in / groups, out].

  Args:
    crops: what is cut off (before, after) each spatial axis of the sum of all scaled kernels; below 0 adds zeros.
    The others are those of `convolve`.

  Returns:
    [batch, *output sizes, out].
  """
  spans = [d * (k - 1) for k, d in zip(kernel.shape[:-2], dilation, strict=True)]
  padding = [(span - low, span - high) for span, (low, high) in zip(spans, crops, strict=True)]
  flipped = jnp.flip(kernel, range(len(strides)))
  return _lax(x, flipped, (1,) * len(strides), padding, dilation, groups, lhs_dilation=strides)


def _choose(x, kernel, strides, groups):
  """The rule. On GPUs and TPUs XLA's own convolutions are the fast ones; on CPUs only the large dense ones are."""
  if _lowering == "lax" or jax.default_backend() != "cpu":
    return _lax
  if groups == x.shape[-1] and groups > 1:
    return _depthwise
  if groups == 1 and all(k == 1 for k in kernel.shape[:-2]):
    return _matmul
  if groups == 1 and x.shape[-1] <= 4:  # the first layer: its gradient by the kernel is up to 5 times slower in lax
    return _patches
  return _lax


def _lax(x, kernel, strides, padding, dilation, groups, lhs_dilation=None):
  rank = x.ndim - 2
  letters = "".join("DHW"[3 - rank :]) if rank <= 3 else "".join(chr(ord("a") + i) for i in range(rank))
  return lax.conv_general_dilated(
    x,
    kernel,
    strides,
    padding,
    lhs_dilation=lhs_dilation,
    rhs_dilation=dilation,
    dimension_numbers=(f"N{letters}C", f"{letters}IO", f"N{letters}C"),
    feature_group_count=groups,
  )


def _depthwise(x, kernel, strides, padding, dilation, groups):
  multiplier = kernel.shape[-1] // groups
  x = jnp.repeat(x, multiplier, -1) if multiplier > 1 else x
  return depthwise(x, kernel, strides, padding, dilation)


def _strided(x, starts, sizes, strides):
  """The windows of x that begin at `starts` and have `sizes` elements, `strides` apart, in the spatial axes."""
  limits = [start + stride * (size - 1) + 1 for start, size, stride in zip(starts, sizes, strides, strict=True)]
  return lax.slice(x, (0, *starts, 0), (x.shape[0], *limits, x.shape[-1]), (1, *strides, 1))


def _padded(x, padding):
  return jnp.pad(x, [(0, 0), *padding, (0, 0)]) if any(map(any, padding)) else x


def _matmul(x, kernel, strides, padding, dilation, groups):
  """A 1 x 1 convolution is a matrix product over the channels."""
  x = _padded(x, padding)
  if any(s > 1 for s in strides):
    x = _strided(x, (0,) * len(strides), [-(-n // s) for n, s in zip(x.shape[1:-1], strides, strict=True)], strides)
  return _dot(x, kernel)


def _dot(x, kernel):
  """x [..., in] @ kernel [*, out] as a product of two matrices, whose gradients then need no transposed copies."""
  rows = x.reshape(-1, x.shape[-1])
  return jnp.dot(rows, kernel.reshape(x.shape[-1], -1)).reshape(*x.shape[:-1], -1)


def _patches(x, kernel, strides, padding, dilation, groups):
  """All taps side by side in the channels, then one matrix product; for few input channels."""
  kernel_size = kernel.shape[:-2]
  x = _padded(x, padding)
  sizes = [
    (n - d * (k - 1) - 1) // s + 1 for n, k, s, d in zip(x.shape[1:-1], kernel_size, strides, dilation, strict=True)
  ]
  taps = itertools.product(*(range(0, k * d, d) for k, d in zip(kernel_size, dilation, strict=True)))
  columns = jnp.concatenate([_strided(x, tap, sizes, strides) for tap in taps], -1)
  return _dot(lax.optimization_barrier(columns), kernel)

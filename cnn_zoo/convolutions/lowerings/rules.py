"""How a convolution is executed: the choice of a lowering by backend and shape, apart from what it means.

Every lowering computes the same values. `lax` is the reference; the others are used where they were measured to be
faster (docs/benchmarks.md).
"""

import contextlib
import functools
import math

import jax
import jax.numpy as jnp
from jax import lax

from cnn_zoo.convolutions.lowerings import columns, winograd
from cnn_zoo.convolutions.lowerings.depthwise import depthwise
from cnn_zoo.convolutions.lowerings.overlap_add import input_gradient, overlap_add
from cnn_zoo.convolutions.lowerings.windows import Geometry, cut, once, pad, without_idle_taps
from cnn_zoo.errors import check_name

LOWERINGS = ("auto", "lax")
_lowering = "auto"


@contextlib.contextmanager
def lowering(name: str, platform: str | None = None):
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
  return _execute(x, kernel, Geometry(tuple(strides), tuple(map(tuple, padding)), tuple(dilation), groups))


def convolve_transposed(x, kernel, strides, crops, dilation, groups):
  """The transposed convolution of x [batch, *spatial, in] by kernel [*kernel_size, in / groups, out].

  Args:
    crops: what is cut off (before, after) each spatial axis of the sum of all scaled kernels; below 0 adds zeros.
    The others are those of `convolve`.

  Returns:
    [batch, *output sizes, out].
  """
  spans = [d * (k - 1) for k, d in zip(kernel.shape[:-2], dilation, strict=True)]
  if _uses_own() and groups == 1 and max(strides) > 1 and max(dilation) == 1:
    before = [low for low, _ in crops]
    sizes = [s * (n - 1) + d + 1 - sum(c) for n, s, d, c in zip(x.shape[1:-1], strides, spans, crops, strict=True)]
    return overlap_add(x, kernel, strides, before, sizes)
  padding = tuple((span - low, span - high) for span, (low, high) in zip(spans, crops, strict=True))
  flipped = jnp.flip(kernel, range(len(strides)))
  geometry = Geometry((1,) * len(strides), padding, tuple(dilation), groups)
  return _execute(x, flipped, geometry) if max(strides) == 1 else _lax(x, flipped, geometry, lhs_dilation=strides)


def _execute(x, kernel, geometry):
  if _uses_own():
    kernel, geometry = without_idle_taps(x, kernel, geometry)
  return _choose(x, kernel, geometry)(x, kernel, geometry)


def _uses_own():
  """Whether the lowerings of this project are used. On GPUs and TPUs XLA's own convolutions are the fast ones."""
  return _lowering == "auto" and jax.default_backend() == "cpu"


def _choose(x, kernel, geometry):
  """The rule."""
  taps = math.prod(kernel.shape[:-2])
  if not _uses_own():
    return _lax
  if geometry.groups == x.shape[-1] > 1:
    return _depthwise
  if geometry.groups > 1:
    return columns.grouped
  if taps == 1:
    return _matmul
  if x.shape[-1] <= 4 and max(geometry.dilation) == 1:  # the first layer
    return _first_by_columns if taps <= 27 else _first_by_lax
  if len(geometry.strides) == 3:
    return _slice_by_slice
  if any(n < k for n, k in zip(geometry.output_sizes(x, kernel), kernel.shape, strict=False)):
    return _small_by_columns  # for outputs smaller than the kernel XLA is up to a hundred times slower
  if _fits_winograd(x, kernel, geometry):
    return _winograd if max(geometry.dilation) == 1 else _winograd_dilated
  return _lax


def _fits_winograd(x, kernel, geometry):
  """Whether F(2 x 2, 3 x 3) applies and there is enough work to pay for compiling its some forty kernels."""
  multiply_adds = math.prod((x.shape[0], *geometry.output_sizes(x, kernel), *kernel.shape))
  return (
    kernel.shape[:-2] == (3, 3)
    and geometry.strides == (1, 1)
    and max(geometry.dilation) <= 4  # images of their own that are not too small for whole tiles
    and min(kernel.shape[-2:]) >= 32
    and x.dtype == jnp.float32
    and multiply_adds >= 2e8
  )


def _with_gradients(forward, of_input, of_kernel):
  """`forward(x, kernel, geometry)` with its gradients by functions of (g, kernel, x's spatial sizes, geometry) and (x,
  g, the kernel's shape, geometry). All three are traced once for the layers of one shape."""
  forward, of_input, of_kernel = (
    jax.jit(forward, static_argnums=2),
    jax.jit(of_input, static_argnums=(2, 3)),
    jax.jit(of_kernel, static_argnums=(2, 3)),
  )

  @functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
  def run(x, kernel, geometry):
    return forward(x, kernel, geometry)

  def backward(geometry, residuals, g):
    x, kernel = residuals
    return of_input(g, kernel, x.shape[1:-1], geometry), of_kernel(x, g, kernel.shape, geometry)

  run.defvjp(lambda x, kernel, geometry: (forward(x, kernel, geometry), (x, kernel)), backward)
  return run


def _lax(x, kernel, geometry, lhs_dilation=None):
  rank = x.ndim - 2
  letters = "".join("DHW"[3 - rank :]) if rank <= 3 else "".join(chr(ord("a") + i) for i in range(rank))
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


def _depthwise(x, kernel, geometry):
  multiplier = kernel.shape[-1] // geometry.groups
  x = jnp.repeat(x, multiplier, -1) if multiplier > 1 else x
  return depthwise(x, kernel, geometry.strides, geometry.padding, geometry.dilation)


def _matmul(x, kernel, geometry):
  """A 1 x 1 convolution is a matrix product over the channels."""
  sizes = geometry.output_sizes(x, kernel)
  x = pad(x, geometry.padding)
  x = cut(x, (0,) * len(sizes), sizes, geometry.strides) if max(geometry.strides) > 1 else x
  return _product(x.reshape(-1, x.shape[-1]), kernel.reshape(kernel.shape[-2:])).reshape(
    *x.shape[:-1], kernel.shape[-1]
  )


@jax.custom_vjp
def _product(rows, matrix):
  return rows @ matrix


def _product_backward(residuals, g):
  """With many channels a transposed copy costs less than what XLA loses by contracting over rows."""
  rows, matrix = residuals
  of_matrix = once(rows.T) @ g if rows.shape[1] >= 192 else lax.dot_general(rows, g, (((0,), (0,)), ((), ())))
  return g @ matrix.T, of_matrix


_product.defvjp(lambda rows, matrix: (rows @ matrix, (rows, matrix)), _product_backward)

_small_by_columns = jax.jit(columns.forward, static_argnums=2)
_first_by_columns = _with_gradients(columns.forward, input_gradient, columns.kernel_gradient)
_first_by_lax = _with_gradients(_lax, input_gradient, columns.kernel_gradient)
_winograd = _with_gradients(winograd.forward, winograd.input_gradient, winograd.kernel_gradient)


def _winograd_dilated(x, kernel, geometry):
  """With dilation d every d-th row and column form an image of their own, under a kernel that is not dilated."""
  batch, sizes = x.shape[0], geometry.output_sizes(x, kernel)
  d = geometry.dilation
  # Padded so that the d x d images have one size.
  images = [-(-n // step) for n, step in zip(sizes, d, strict=True)]
  lows = [low for low, _ in geometry.padding]
  ends = [(m + 2) * step - n - low for m, step, n, low in zip(images, d, x.shape[1:-1], lows, strict=True)]
  x = pad(x, tuple(zip(lows, ends, strict=True)))
  x = x.reshape(batch, images[0] + 2, d[0], images[1] + 2, d[1], -1).transpose(2, 4, 0, 1, 3, 5)
  x = once(x).reshape(d[0] * d[1] * batch, images[0] + 2, images[1] + 2, -1)
  y = _winograd(x, kernel, Geometry((1, 1), ((0, 0), (0, 0)), (1, 1)))
  y = y.reshape(*d, batch, *images, -1).transpose(2, 3, 0, 4, 1, 5)
  return once(y).reshape(batch, images[0] * d[0], images[1] * d[1], -1)[:, : sizes[0], : sizes[1]]


def _slice_by_slice(x, kernel, geometry):
  """A 3-D convolution as a sum, over the taps of the first axis, of 2-D convolutions of all slices at once."""
  batch, (depth, *_) = x.shape[0], geometry.output_sizes(x, kernel)
  (stride, *strides), (ends, *padding), (step, *dilation), _ = geometry
  x = pad(x, [ends, (0, 0), (0, 0)])
  total = 0
  for tap in range(kernel.shape[0]):
    slices = once(x[:, tap * step : tap * step + stride * (depth - 1) + 1 : stride])
    slices = slices.reshape(batch * depth, *x.shape[2:])
    total += convolve(slices, kernel[tap], strides, padding, dilation, 1)
  return total.reshape(batch, depth, *total.shape[1:])

"""Kernels and trained convolutions made separable: the nearest ones, by singular value decomposition in float64."""

import functools
import math
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from flax import nnx

from cnn_zoo.convolutions.convolution import Convolution
from cnn_zoo.convolutions.separable import DepthwiseSeparableConvolution, SpatiallySeparableConvolution, step_axes
from cnn_zoo.errors import UserError


class Separation(NamedTuple):
  """A kernel as a product of smaller ones.

  Attributes:
    factors: of a filter, columns [height, rank] and rows [rank, width]: pair i is columns[:, i] and rows[i]. Of a
      convolution's kernel, that of each step, such as [k1, 1, in_features, rank] and [1, k2, rank, out_features].
    error: ||kernel - approximation|| / ||kernel|| in the Frobenius norm; 0 for a kernel of zeros.
    singular_values: for each cut between two factors all of them, in falling order. Those from `rank` on are lost:
      the sum of their squares over all cuts is (error * ||kernel||)^2.
  """

  factors: tuple[np.ndarray, ...]
  error: float
  singular_values: tuple[np.ndarray, ...]

  @property
  def approximation(self) -> np.ndarray:
    """What the factors make together, of the kernel's shape."""
    return functools.reduce(np.matmul, self.factors)  # which broadcasts over the spatial axes


def separate(kernel, rank: int, *, split: str = "axes") -> Separation:
  """A kernel as one small kernel for each spatial axis, with `rank` channels between them.

  With two factors no other pair of that rank comes nearer in the Frobenius norm (Eckart and Young 1936; for
  convolutions it is scheme 2 of Jaderberg et al. 2014, section 2). With more, cut after cut is done that way (the
  tensor train of Oseledets 2011), which need not be the best: for n factors its error is at most sqrt(n - 1) times the
  smallest possible.

  Two factors share the singular value of each channel evenly. In a filter's pairs what has the larger sum is positive,
  and where just one of the two sums to zero (a difference), its largest entry is 1: Sobel's filter comes out as
  [1, 2, 1] x [-1, 0, 1], a Gaussian as twice the same.

  Args:
    kernel: a filter [height, width], or a convolution's kernel [*kernel_size, in_features, out_features].
    rank: from 1 to the full rank, at which the product is exact: of a filter min(height, width), of a convolution
      min(k1 * in_features, k2 * out_features), for more than two factors the largest such limit of any cut.
    split: "axes" (one factor for each axis) or "2+1" (rank 3: 1 x k x k, then k x 1 x 1), as in
      `SpatiallySeparableConvolution`.

  Returns:
    The factors, the relative error and the singular values.

  Raises:
    UserError: if `rank` is out of range, fewer than two factors have more than one tap, or a value is not finite.

  >>> sobel = separate([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]], rank=1)
  >>> sobel.factors[0].ravel().round(6).tolist()  # the column; the row is -1, 0, 1
  [1.0, 2.0, 1.0]
  """
  kernel = np.asarray(kernel, np.float64)
  if kernel.ndim < 2:
    raise UserError(f"kernel of shape {kernel.shape} must be [height, width] or [*kernel_size, in, out]")
  if kernel.ndim > 2:
    return _separate(kernel, rank, split)
  found = _separate(kernel[..., None, None], rank, split)
  column, row = found.factors
  return found._replace(factors=_readable(column[:, 0, 0, :], row[0, :, :, 0].T))


def to_spatially_separable(
  convolution: Convolution, rank: int, *, split: str = "axes"
) -> tuple[SpatiallySeparableConvolution, float]:
  """A convolution as one for each spatial axis with `rank` channels between them, and the relative error.

  The kernels are those of `separate`. The bias becomes the last step's. Strides, padding and dilation stay.

  Args:
    convolution: with groups=1; it stays as it is.
    rank: from 1 to the full rank (see `separate`), at which the outputs are the same up to rounding.
    split: "axes" or "2+1", as in `SpatiallySeparableConvolution`.

  Returns:
    The layer and ||kernel - its kernel|| / ||kernel|| in the Frobenius norm, which for inputs of white noise is the
    relative error to expect of the outputs before the bias; for images, whose pixels are alike, it is another.

  Raises:
    UserError: for what is no such convolution, a kernel with fewer than two axes to separate, a rank out of range.

  >>> layer = Convolution(2, 4, (3, 3), rngs=nnx.Rngs(0))
  >>> separable, error = to_spatially_separable(layer, rank=6)  # the full rank
  >>> round(error, 6), [convolution.out_features for convolution in separable.convolutions]
  (0.0, [6, 4])
  """
  found = separate(_kernel(convolution), rank, split=split)
  return _with_weights(SpatiallySeparableConvolution, convolution, found.factors, rank=rank, split=split), found.error


def to_depthwise_separable(convolution: Convolution, multiplier: int) -> tuple[DepthwiseSeparableConvolution, float]:
  """A convolution as a depthwise one, then a pointwise one, and the relative error.

  Each input channel gets the `multiplier` spatial filters, and their weights in each output, that come nearest to its
  own [taps, out_features] matrix of weights. Channels do not share filters, so no other depthwise separable kernel with
  that multiplier is nearer in the Frobenius norm. The bias is the pointwise step's; strides, padding and dilation stay.

  Args:
    convolution: of any rank, with groups=1 and more than one tap; it stays as it is.
    multiplier: filters for each input channel, from 1 to min(taps, out_features), at which the outputs are the same up
      to rounding.

  Returns:
    The layer and the relative error of its kernel, as `to_spatially_separable`.

  Raises:
    UserError: for what is no such convolution or a multiplier out of range.

  >>> layer = Convolution(2, 4, (3, 3), rngs=nnx.Rngs(0))
  >>> separable, error = to_depthwise_separable(layer, multiplier=4)  # as many filters as outputs
  >>> round(error, 6), separable.parameters()
  (0.0, 108)
  """
  kernel = _kernel(convolution)
  *kernel_size, in_features, out_features = kernel.shape
  taps = math.prod(kernel_size)
  if taps == 1:
    raise UserError(f"kernel_size={tuple(kernel_size)} has one tap: there is nothing to separate")
  _check_finite(kernel)
  _check_range("multiplier", multiplier, min(taps, out_features), kernel.shape)
  channels = np.moveaxis(kernel.reshape(taps, in_features, out_features), 1, 0)
  filters, values, weights = np.linalg.svd(channels, full_matrices=False)
  shared = np.sqrt(values[:, :multiplier])
  filters = filters[:, :, :multiplier] * shared[:, None, :]
  weights = weights[:, :multiplier] * shared[:, :, None]
  between = in_features * multiplier
  depthwise = np.moveaxis(filters, 0, 1).reshape(*kernel_size, 1, between)
  pointwise = weights.reshape(*(1,) * len(kernel_size), between, out_features)
  layer = _with_weights(DepthwiseSeparableConvolution, convolution, (depthwise, pointwise), multiplier=multiplier)
  return layer, _relative_error(channels, filters @ weights)


def _separate(kernel, rank, split):
  """`separate` for a convolution's kernel: its axes in the order of the steps, cut after each but the last."""
  *kernel_size, in_features, out_features = kernel.shape
  _check_finite(kernel)
  steps = step_axes(split, tuple(kernel_size))
  taps = [math.prod(kernel_size[axis] for axis in axes) for axes in steps]
  if len(steps) < 2 or min(taps) == 1:
    raise UserError(f"{split=}: each of two or more steps needs more than one tap of kernel_size={tuple(kernel_size)}")
  cuts = [(math.prod(taps[:i]) * in_features, math.prod(taps[i:]) * out_features) for i in range(1, len(taps))]
  _check_range("rank", rank, max(map(min, cuts)), kernel.shape)
  order = [len(kernel_size), *(axis for axes in steps for axis in axes), len(kernel_size) + 1]
  matrices, singular_values = _tensor_train(kernel.transpose(order), in_features, taps, rank)
  factors = []
  for matrix, axes in zip(matrices, steps, strict=True):
    size = [k if axis in axes else 1 for axis, k in enumerate(kernel_size)]
    factors.append(np.moveaxis(matrix.reshape(rank if factors else in_features, *size, -1), 0, -2))
  for i in range(len(factors) - 1):
    factors[i : i + 2] = _balanced(*factors[i : i + 2])
  found = Separation(tuple(factors), 0.0, tuple(singular_values))
  return found._replace(error=_relative_error(kernel, found.approximation))


def _tensor_train(rest, features, taps, rank):
  """Matrices [features * taps[i], rank], the last [rank * taps[-1], ...], whose chain is near to `rest`."""
  matrices, singular_values = [], []
  for count in taps[:-1]:
    left, values, right = np.linalg.svd(rest.reshape(features * count, -1), full_matrices=False)
    missing = max(rank - len(values), 0)  # a cut of a smaller full rank than another's gets channels of zeros
    matrices.append(np.pad(left[:, :rank], [(0, 0), (0, missing)]))
    singular_values.append(values)
    rest, features = np.pad((values[:, None] * right)[:rank], [(0, missing), (0, 0)]), rank
  return [*matrices, rest], singular_values


def _balanced(first, second):
  """Factors with the same product that have the same norm in each channel between them."""
  into = np.sqrt((first**2).sum(tuple(range(first.ndim - 1))))
  out = np.sqrt((second**2).sum((*range(second.ndim - 2), -1)))
  scale = np.sqrt(np.divide(out, into, out=np.ones_like(out), where=(into > 0) & (out > 0)))
  return first * scale, second / scale[:, None]


def _readable(columns, rows):
  """Balanced pairs of 1-D filters with the signs and scales that `separate` promises."""
  in_column, in_row = _sums(columns.T), _sums(rows)
  larger = np.where(np.abs(in_column) > np.abs(in_row), in_column, in_row)
  row_peak, column_peak = np.abs(rows).max(1), np.abs(columns).max(0)
  scale = np.where(larger < 0, -1.0, 1.0)
  scale *= np.where((in_row == 0) & (in_column != 0) & (row_peak > 0), row_peak, 1)
  scale /= np.where((in_column == 0) & (in_row != 0), column_peak, 1)
  return columns * scale, rows / scale[:, None]


def _sums(filters):
  """The sum of each filter; 0 where it is but rounding."""
  sums = filters.sum(1)
  return np.where(np.abs(sums) > 1e-6 * np.abs(filters).sum(1), sums, 0)


def _relative_error(kernel, approximation):
  norm = np.linalg.norm(kernel)
  return float(np.linalg.norm(kernel - approximation) / norm) if norm else 0.0


def _kernel(convolution):
  """The float64 kernel of a convolution that can be separated."""
  if not isinstance(convolution, Convolution):
    raise UserError(f"convolution={type(convolution).__name__} cannot be separated; valid: a Convolution")
  if convolution.groups > 1:
    raise UserError(f"groups={convolution.groups} of the convolution to separate must be 1")
  return np.asarray(convolution.kernel[...], np.float64)


def _with_weights(layer_class, convolution, kernels, **options):
  """A layer of `layer_class` with the geometry and the bias of `convolution` and these kernels in its steps."""
  layer = layer_class(
    convolution.in_features,
    convolution.out_features,
    convolution.kernel_size,
    strides=convolution.strides,
    padding=convolution.padding,
    dilation=convolution.dilation,
    use_bias=convolution.use_bias,
    kernel_init=convolution.kernel_init,
    bias_init=convolution.bias_init,
    rngs=nnx.Rngs(0),  # what is drawn is overwritten
    **options,
  )
  for step, kernel in zip(layer.convolutions, kernels, strict=True):
    step.kernel.set_value(jnp.asarray(kernel, jnp.float32))
  if convolution.use_bias:
    layer.convolutions[-1].bias.set_value(convolution.bias[...])
  return layer


def _check_range(field, value, most, shape):
  if value not in range(1, most + 1):
    raise UserError(f"{field}={value} must be a whole number from 1 to {most} for a kernel of shape {shape}")


def _check_finite(kernel):
  if not np.isfinite(kernel).all():
    raise UserError(f"kernel of shape {kernel.shape} has values that are not finite")

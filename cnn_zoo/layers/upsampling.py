"""Enlarging maps: by interpolation, alone or before a convolution; and sizes that halve without a remainder."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax

from cnn_zoo.convolutions import Convolution
from cnn_zoo.convolutions.arithmetic import per_axis
from cnn_zoo.convolutions.initializers import Initializer, he_normal_fan_out
from cnn_zoo.convolutions.lowerings.choice import Rule, choose
from cnn_zoo.convolutions.lowerings.derivatives import form
from cnn_zoo.convolutions.lowerings.windows import once, pad
from cnn_zoo.errors import check_name

INTERPOLATIONS = ("bilinear", "nearest")
UPSAMPLING = ("transposed", *INTERPOLATIONS)
"""How a network may enlarge its maps: by transposed convolutions, or by `resize` with one of its methods."""


def resize(x: jax.Array, sizes: int | Sequence[int], method: str = "bilinear") -> jax.Array:
  """x interpolated at other `sizes`.

  Pixels are areas with values in their centres: along an axis of n, element i of m lies at (i + 1/2) n / m - 1/2, and
  beyond the outermost centres their values continue (PyTorch's `interpolate` with align_corners=False). Nothing is
  averaged where the map gets smaller.

  Args:
    x: [batch, *spatial, channels].
    sizes: one for each spatial axis, or one for all.
    method: "bilinear", linear along every axis, or "nearest".

  Returns:
    [batch, *sizes, channels].

  Raises:
    UserError: for sizes that do not fit the rank or are below 1, and for a method that does not exist.

  >>> resize(jnp.asarray([1.0, 2.0]).reshape(1, 2, 1), 4).ravel().tolist()
  [1.0, 1.25, 1.75, 2.0]
  """
  check_name("method", method, INTERPOLATIONS)
  sizes = per_axis("sizes", sizes, x.ndim - 2)
  with jax.named_scope(f"resize_{method}"):  # for `describe`
    for axis, size in enumerate(sizes, start=1):
      if x.shape[axis] != size:
        x = once(_interpolated(x, axis, size, method))
  return x


def _interpolated(x, axis, size, method):
  weights = _weights(x.shape[axis], size, method)
  # Either direction has a lowering of its own.
  static = axis, method, *(choose(RULES, _by_product, matrix) for matrix in (weights, weights.T))
  output = (*x.shape[1:axis], size, *x.shape[axis + 1 :])
  return _interpolation.derivative(1, (x,), (x.shape[1:], output), static)


def _forward(x, *, shape, static):
  axis, method, lowering, _ = static
  return lowering(x, axis, _weights(x.shape[axis], shape[axis - 1], method))


def _gradient(g, *, shape, static):
  """A sum of the same kind. The derivative of the sum as it is written would add element by element."""
  axis, method, _, lowering = static
  return lowering(g, axis, _weights(shape[axis - 1], g.shape[axis], method).T)


_interpolation = form(_gradient, _forward, batched=(True, True))


def _weights(before, after, method):
  """[after, before]: how much each element of an axis contributes to each of the interpolated ones."""
  at = np.clip((np.arange(after) + 0.5) * before / after - 0.5, 0, before - 1)
  if method == "nearest":
    at = np.floor(at + 0.5)
  return np.maximum(1 - np.abs(at[:, None] - np.arange(before)), 0)


def _by_product(x, axis, weights):
  """The product of `weights` [after, before] with every line of x along `axis`."""
  weights = jnp.asarray(weights, x.dtype)
  return jnp.moveaxis(jnp.tensordot(weights, x, (1, axis), precision=lax.Precision.HIGHEST), 0, axis)


def _by_sums(x, axis, weights):
  """The same from the few elements that count: nearly all weights are zero."""
  terms = _terms(weights)
  first = np.minimum((weights != 0).argmax(1), weights.shape[1] - terms)
  column = (-1, *[1] * (x.ndim - axis - 1))
  total = 0
  for index in first + np.arange(terms)[:, None]:
    weight = np.take_along_axis(weights, index[:, None], 1).reshape(column)
    total += jnp.take(x, index, axis, mode="clip") * weight.astype(x.dtype)
  return total


def _terms(weights):
  """How many elements contribute to an interpolated one at most."""
  return np.count_nonzero(weights, 1).max()


def _few_terms(weights):
  return _terms(weights) <= 64


# A CPU copies a few elements several times faster than it multiplies by a matrix.
RULES = (Rule("cpu", _few_terms, _by_sums),)


class ResizeConvolution(nnx.Module):
  """`resize` and a convolution: what a transposed convolution does, without its checkerboards.

  A transposed convolution gives neighbours different numbers of taps, or different taps, and its output shows that
  pattern until the weights have learned to hide it; here all elements are computed alike (Odena et al. 2016,
  Deconvolution and Checkerboard Artifacts, who did best with the nearest neighbour).

  Args:
    in_features: channels of the input.
    out_features: channels of the output.
    kernel_size: of the convolution, which keeps the sizes.
    method: of `resize`.
    factor: how many times larger the map becomes along each axis.
    kernel_init: initial values of the convolution's kernel.
    rngs: the source of initial values.

  Raises:
    UserError: as `Convolution`, and for a method that does not exist.

  >>> layer = ResizeConvolution(4, 2, (3, 3), rngs=nnx.Rngs(0))
  >>> layer(jnp.ones((1, 3, 3, 4))).shape
  (1, 6, 6, 2)
  """

  def __init__(
    self,
    in_features: int,
    out_features: int,
    kernel_size: Sequence[int],
    *,
    method: str = "nearest",
    factor: int = 2,
    kernel_init: Initializer = he_normal_fan_out,
    rngs: nnx.Rngs,
  ):
    check_name("method", method, INTERPOLATIONS)
    self.method, self.factor = method, factor
    self.conv = Convolution(in_features, out_features, kernel_size, kernel_init=kernel_init, rngs=rngs)

  def __call__(self, x: jax.Array) -> jax.Array:
    """x [batch, *spatial, in_features] -> [batch, *factor * spatial, out_features]."""
    return self.conv(resize(x, [self.factor * size for size in x.shape[1:-1]], self.method))


def pad_to_multiple(x: jax.Array, multiple: int) -> jax.Array:
  """x [batch, *spatial, channels] with zeros at the end of each axis, as few as make its size a multiple.

  >>> pad_to_multiple(jnp.ones((1, 5, 8, 1)), 4).shape
  (1, 8, 8, 1)
  """
  return pad(x, [(0, -size % multiple) for size in x.shape[1:-1]])


def crop(x: jax.Array, sizes: Sequence[int]) -> jax.Array:
  """The first elements of every spatial axis, `sizes` of them: [batch, *sizes, channels]."""
  return x[(slice(None), *map(slice, sizes))]

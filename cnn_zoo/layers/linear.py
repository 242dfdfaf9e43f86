"""The fully connected layer."""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from cnn_zoo.convolutions import initializers
from cnn_zoo.convolutions.initializers import Initializer
from cnn_zoo.errors import UserError


class Linear(nnx.Module):
  """x @ kernel + bias over the last axis: [..., in_features] -> [..., out_features], in the dtype of x.

  Args:
    in_features: width of the input.
    out_features: width of the output.
    use_bias: whether a bias is added.
    kernel_init: initial values of the kernel.
    bias_init: initial values of the bias.
    rngs: the source of initial values.

  Attributes:
    kernel: [in_features, out_features].
    bias: [out_features], or None.

  Raises:
    UserError: for a width below 1, and for an input of another width than `in_features`.

  Example:
    >>> import jax.numpy as jnp
    >>> from flax import nnx
    >>> from cnn_zoo.layers import Linear
    >>> layer = Linear(3, 2, rngs=nnx.Rngs(0))
    >>> layer(jnp.ones((4, 3))).shape, layer.multiply_adds((4, 3))
    ((4, 2), 24)
  """

  def __init__(
    self,
    in_features: int,
    out_features: int,
    *,
    use_bias: bool = True,
    kernel_init: Initializer = initializers.lecun_uniform,
    bias_init: Initializer = initializers.zeros,
    rngs: nnx.Rngs,
  ):
    if min(in_features, out_features) < 1:
      raise UserError(f"in_features={in_features} and out_features={out_features} must be at least 1")
    self.in_features, self.out_features = in_features, out_features
    fans = in_features, out_features
    self.kernel = nnx.Param(initializers.draw(rngs.params(), kernel_init, (in_features, out_features), *fans))
    self.bias = nnx.Param(initializers.draw(rngs.params(), bias_init, (out_features,), *fans)) if use_bias else None

  def __call__(self, x: jax.Array) -> jax.Array:
    """The affine map of x [..., in_features]."""
    self.output_shape(x.shape)
    y = jnp.dot(x, self.kernel[...].astype(x.dtype))
    return y if self.bias is None else y + self.bias[...].astype(y.dtype)

  def output_shape(self, input_shape: Sequence[int]) -> tuple[int, ...]:
    """[..., in_features] -> [..., out_features]."""
    if input_shape[-1] != self.in_features:
      raise UserError(f"input {tuple(input_shape)} does not fit in_features={self.in_features}")
    return (*input_shape[:-1], self.out_features)

  def multiply_adds(self, input_shape: Sequence[int]) -> int:
    """Multiply-adds for one batch of `input_shape`."""
    return math.prod(self.output_shape(input_shape)) * self.in_features

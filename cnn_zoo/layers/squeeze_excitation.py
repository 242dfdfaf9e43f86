"""Squeeze-and-excitation (Hu et al. 2018)."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx

from cnn_zoo.convolutions import Convolution
from cnn_zoo.convolutions.initializers import Initializer, he_normal_fan_out


class SqueezeExcitation(nnx.Module):
  """Scales each channel by a gate in (0, 1) that is computed from the means of all channels.

  Args:
    features: channels of the input.
    squeezed: channels between the two layers of the gate.
    rank: number of spatial axes.
    activation: between the two layers.
    gate: after the second layer.
    kernel_init: initial values of both kernels.
    rngs: the source of initial values.

  Example:
    >>> import jax.numpy as jnp
    >>> from flax import nnx
    >>> from cnn_zoo.layers import SqueezeExcitation
    >>> SqueezeExcitation(8, 2, rngs=nnx.Rngs(0))(jnp.ones((2, 5, 5, 8))).shape
    (2, 5, 5, 8)
  """

  def __init__(
    self,
    features: int,
    squeezed: int,
    *,
    rank: int = 2,
    activation: Callable = jax.nn.silu,
    gate: Callable = jax.nn.sigmoid,
    kernel_init: Initializer = he_normal_fan_out,
    rngs: nnx.Rngs,
  ):
    self.activation, self.gate = activation, gate
    ones = (1,) * rank
    self.reduce = Convolution(features, squeezed, ones, kernel_init=kernel_init, rngs=rngs)
    self.expand = Convolution(squeezed, features, ones, kernel_init=kernel_init, rngs=rngs)

  def __call__(self, x: jax.Array) -> jax.Array:
    """x [batch, *spatial, features], gated."""
    means = jnp.mean(x, axis=tuple(range(1, x.ndim - 1)), keepdims=True)
    return x * self.gate(self.expand(self.activation(self.reduce(means))))

"""Layer normalisation over the channels (Ba et al. 2016)."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx


class LayerNorm(nnx.Module):
  """Normalises each position of each example by the mean and the variance of its own channels.

  They are computed in float32, whatever the dtype of the input, and are the same in training and evaluation.

  Args:
    features: channels of the input.
    epsilon: added to the variance.

  Attributes:
    scale, bias: [features], learned.

  Example:
    >>> import jax.numpy as jnp
    >>> from cnn_zoo.layers import LayerNorm
    >>> LayerNorm(2)(jnp.asarray([[1.0, 3.0], [5.0, 25.0]])).round(3).tolist()
    [[-1.0, 1.0], [-1.0, 1.0]]
  """

  def __init__(self, features: int, *, epsilon: float = 1e-6):
    self.epsilon = epsilon
    self.scale = nnx.Param(jax.device_put(np.ones(features, np.float32)))
    self.bias = nnx.Param(jax.device_put(np.zeros(features, np.float32)))

  def __call__(self, x: jax.Array) -> jax.Array:
    """x [..., features], normalised."""
    wide = x.astype(jnp.float32)
    centered = wide - jnp.mean(wide, -1, keepdims=True)
    variance = jnp.mean(jnp.square(centered), -1, keepdims=True)
    y = centered * jax.lax.rsqrt(variance + self.epsilon) * self.scale[...] + self.bias[...]
    return y.astype(x.dtype)

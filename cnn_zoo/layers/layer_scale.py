"""Layer scale (Touvron et al. 2021, Going deeper with Image Transformers)."""

import jax
import numpy as np
from flax import nnx


class LayerScale(nnx.Module):
  """Multiplies each channel of a residual branch by a learned number.

  It is small at first, so that the block starts near the identity.

  Args:
    features: channels of the input.
    value: where `gamma` starts.

  Attributes:
    gamma: [features], learned.

  Example:
    >>> import jax.numpy as jnp
    >>> from cnn_zoo.layers import LayerScale
    >>> LayerScale(2, value=0.5)(jnp.asarray([[2.0, 4.0]])).tolist()
    [[1.0, 2.0]]
  """

  def __init__(self, features: int, *, value: float = 1e-6):
    self.gamma = nnx.Param(jax.device_put(np.full(features, value, np.float32)))

  def __call__(self, x: jax.Array) -> jax.Array:
    """x [..., features], scaled."""
    return x * self.gamma[...].astype(x.dtype)

"""Layer scale (Touvron et al. 2021, Going deeper with Image Transformers)."""

import jax
import numpy as np
from flax import nnx


class LayerScale(nnx.Module):
  """Multiplies each channel of a residual branch by a learned number, so small at first that the branch hardly counts.

  Attributes:
    gamma: [features], learned.
  """

  def __init__(self, features: int, *, value: float = 1e-6):
    self.gamma = nnx.Param(jax.device_put(np.full(features, value, np.float32)))

  def __call__(self, x: jax.Array) -> jax.Array:
    """x [..., features], scaled."""
    return x * self.gamma[...].astype(x.dtype)

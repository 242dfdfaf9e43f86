"""Layers that draw random numbers in training: dropout and stochastic depth."""

import jax
import jax.numpy as jnp
from flax import nnx

from cnn_zoo.errors import UserError


class NoiseKey(nnx.Variable):
  """The key from which a layer draws its next noise."""


class _Noise(nnx.Module):
  """Multiplies by random masks. Each call draws from the layer's key and moves the key on."""

  def __init__(self, rate: float, *, rngs: nnx.Rngs):
    if not 0 <= rate < 1:
      raise UserError(f"rate={rate} of {type(self).__name__} must be at least 0 and below 1")
    self.rate = rate
    self.key = NoiseKey(rngs.dropout()) if rate > 0 else None
    self.deterministic = False

  def _scale(self, x, shape):
    """x times a mask of `shape` that is 0 with probability `rate` and 1 / (1 - rate) otherwise."""
    if self.deterministic or self.key is None:
      return x
    key, keep = self.key[...], 1 - self.rate
    # The mask uses the first blocks of the key's stream; the next key is a block far behind them. A training step that
    # sets all keys by `set_noise` has no use for it, and XLA drops it.
    self.key.set_value(jax.random.fold_in(key, 0xFFFFFFFF))
    return jnp.where(jax.random.bernoulli(key, keep, shape), x / keep, 0).astype(x.dtype)


class Dropout(_Noise):
  """Zeroes each element with probability `rate` and scales the rest to keep the mean (Srivastava et al. 2014)."""

  def __call__(self, x: jax.Array) -> jax.Array:
    """x of any shape."""
    return self._scale(x, x.shape)


class StochasticDepth(_Noise):
  """Zeroes whole examples of a residual branch with probability `rate`, scaling the rest (Huang et al. 2016)."""

  def __call__(self, x: jax.Array) -> jax.Array:
    """x [batch, ...]."""
    return self._scale(x, (x.shape[0],) + (1,) * (x.ndim - 1))


def set_noise(model: nnx.Module, key: jax.Array) -> None:
  """Gives every layer that draws noise a key of its own, a function of `key` and the layer's place in the model."""
  noises = [module.key for _, module in nnx.iter_modules(model) if isinstance(module, _Noise)]
  own = [noise for noise in noises if noise is not None]
  if own:
    for noise, value in zip(own, jax.random.split(key, len(own)), strict=True):
      noise.set_value(value)

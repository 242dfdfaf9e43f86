"""Layers that draw random numbers in training: dropout and stochastic depth."""

import jax
import jax.numpy as jnp
from flax import nnx

from cnn_zoo.errors import UserError


class NoiseKey(nnx.Variable):
  """The key from which a layer draws its next noise."""


class _Noise(nnx.Module):
  """Multiplies by random masks. Each call draws from the layer's key and replaces the key."""

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
    # The mask uses the first blocks of the key's stream; the next key is a block far after them. A training step that
    # sets all keys by `set_noise` does not use it, and XLA drops it.
    self.key.set_value(jax.random.fold_in(key, 0xFFFFFFFF))
    return jnp.where(jax.random.bernoulli(key, keep, shape), x / keep, 0).astype(x.dtype)


class Dropout(_Noise):
  """Zeroes each element with probability `rate` and scales the rest to keep the mean (Srivastava et al. 2014).

  In training only.

  Args:
    rate: at least 0 and below 1.
    rngs: the source of the key.

  Raises:
    UserError: for another rate.

  Example:
    >>> import jax.numpy as jnp
    >>> from flax import nnx
    >>> from cnn_zoo.layers import Dropout
    >>> layer = Dropout(0.5, rngs=nnx.Rngs(0))
    >>> sorted(set(layer(jnp.ones(100)).tolist()))
    [0.0, 2.0]
    >>> layer.eval()
    >>> float(layer(jnp.ones(100)).min())
    1.0
  """

  def __call__(self, x: jax.Array) -> jax.Array:
    """x of any shape."""
    return self._scale(x, x.shape)


class StochasticDepth(_Noise):
  """Zeroes whole examples of a residual branch with probability `rate`, scaling the rest (Huang et al. 2016).

  In training only. The arguments are those of `Dropout`.

  Example:
    >>> import jax.numpy as jnp
    >>> from flax import nnx
    >>> from cnn_zoo.layers import StochasticDepth
    >>> y = StochasticDepth(0.5, rngs=nnx.Rngs(0))(jnp.ones((100, 3)))
    >>> sorted(set(map(tuple, y.tolist())))
    [(0.0, 0.0, 0.0), (2.0, 2.0, 2.0)]
  """

  def __call__(self, x: jax.Array) -> jax.Array:
    """x [batch, ...]."""
    return self._scale(x, (x.shape[0],) + (1,) * (x.ndim - 1))


def set_noise(model: nnx.Module, key: jax.Array) -> None:
  """Gives every layer that draws noise a key of its own, a function of `key` and the layer's place in the model.

  Args:
    model: is changed in place.
    key: a JAX key.

  Example:
    >>> import jax
    >>> import jax.numpy as jnp
    >>> from flax import nnx
    >>> from cnn_zoo.layers import Dropout, set_noise
    >>> model, x, y = nnx.List([Dropout(0.5, rngs=nnx.Rngs(0))]), jnp.ones(100), []
    >>> for _ in range(2):
    ...   set_noise(model, jax.random.key(1))
    ...   y.append(model[0](x))
    >>> bool((y[0] == y[1]).all())
    True
  """
  noises = [module.key for _, module in nnx.iter_modules(model) if isinstance(module, _Noise)]
  own = [noise for noise in noises if noise is not None]
  if own:
    for noise, value in zip(own, jax.random.split(key, len(own)), strict=True):
      noise.set_value(value)

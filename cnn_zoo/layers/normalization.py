"""Batch normalisation with a group size (Ioffe and Szegedy 2015)."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from cnn_zoo.errors import BatchTooSmallError, UserError


class BatchNorm(nnx.Module):
  """Normalises each channel by statistics of the batch (training) or their running averages (evaluation).

  Statistics are computed in float32, whatever the dtype of the input. `group_size` says how many examples share them:
  None is the whole (global) batch. A group that lies inside one device's shard needs no communication, and groups of
  the same size give the same numbers on any number of devices.

  Args:
    features: channels of the input.
    momentum: the share of the old running averages that a step keeps.
    epsilon: added to the variance.
    group_size: how many examples share statistics; None for the whole batch.
    rngs: not used; normalisation starts from constants.

  Attributes:
    scale, bias: [features], learned.
    mean, variance: [features], running averages: new = momentum * old + (1 - momentum) * batch. The running variance
      is the unbiased estimate, as in PyTorch.
    momentum, epsilon, group_size: plain numbers; `configure_batch_norm` changes them for a whole model.

  Raises:
    UserError: in training, for a batch that `group_size` does not divide, and for groups with a single value per
      channel: its variance is 0, so that the output would not depend on the input.

  Example:
    >>> import jax.numpy as jnp
    >>> from cnn_zoo.layers import BatchNorm
    >>> layer = BatchNorm(1)
    >>> layer(jnp.asarray([[1.0], [3.0]])).round(3).tolist()
    [[-1.0], [1.0]]
    >>> layer.mean[...].round(3), layer.variance[...].round(3)
    (Array([0.2], dtype=float32), Array([1.1], dtype=float32))
  """

  def __init__(
    self,
    features: int,
    *,
    momentum: float = 0.9,
    epsilon: float = 1e-5,
    group_size: int | None = None,
    rngs: nnx.Rngs | None = None,
  ):
    self.features, self.momentum, self.epsilon, self.group_size = features, momentum, epsilon, group_size
    self.scale = nnx.Param(jax.device_put(np.ones(features, np.float32)))
    self.bias = nnx.Param(jax.device_put(np.zeros(features, np.float32)))
    self.mean = nnx.BatchStat(jax.device_put(np.zeros(features, np.float32)))
    self.variance = nnx.BatchStat(jax.device_put(np.ones(features, np.float32)))
    self.deterministic = False

  def __call__(self, x: jax.Array) -> jax.Array:
    """x [batch, ..., features], normalised; updates the running averages in training."""
    if self.deterministic:
      scale = self.scale[...] * jax.lax.rsqrt(self.variance[...] + self.epsilon)
      return (x * scale + (self.bias[...] - self.mean[...] * scale)).astype(x.dtype)
    size = self.group_size or x.shape[0]
    if self.group_size and x.shape[0] % size:
      raise UserError(f"config.batch_norm.group_size={size} does not divide the batch of {x.shape[0]}")
    if size * math.prod(x.shape[1:-1]) == 1:  # the output would be the bias, whatever the input
      raise BatchTooSmallError(
        f"batch normalisation needs more than one value per channel in training: BatchNorm({self.features}) has "
        f"{size} example of an input {x.shape}; valid: a larger config.batch_size, a smaller config.accumulate, "
        f"a config.batch_norm.group_size above 1 (now {self.group_size}), or larger inputs"
      )
    averages = self.mean[...], self.variance[...]
    y, mean, variance = _train(x, self.scale[...], self.bias[...], *averages, self.momentum, self.epsilon, size)
    self.mean.set_value(mean)
    self.variance.set_value(variance)
    return y


@functools.partial(jax.jit, static_argnums=(5, 6, 7))  # traced once for all layers of a shape
def _train(x, scale, bias, mean, variance, momentum, epsilon, size):
  """x normalised by groups of `size` examples, and the running averages after it."""
  num_groups = x.shape[0] // size
  # A reshape makes XLA recompute what comes before it for each consumer, so one group has no axis of its own.
  groups = x if num_groups == 1 else x.reshape(num_groups, size, *x.shape[1:])
  axes = tuple(range(groups.ndim - x.ndim, groups.ndim - 1))
  y, group_means, group_variances = _normalize(groups, scale, bias, epsilon, axes)
  count = x.size // num_groups // x.shape[-1]
  group_variances *= count / max(count - 1, 1)
  old, new = momentum, (1 - momentum) / num_groups  # the mean over groups
  mean = old * mean + new * group_means.reshape(-1, x.shape[-1]).sum(0)
  variance = old * variance + new * group_variances.reshape(-1, x.shape[-1]).sum(0)
  return y.reshape(x.shape), mean, variance


@functools.partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def _normalize(x, scale, bias, epsilon, axes):
  """x normalised over `axes`; also the mean and the variance over them, without a gradient.

  The backward pass is the closed form (Ioffe and Szegedy 2015, section 3) rather than the derivative of each reduction:
  two reductions and one elementwise pass, half of what differentiating the forward pass takes.
  """
  return _normalize_fwd(x, scale, bias, epsilon, axes)[0]


def _normalize_fwd(x, scale, bias, epsilon, axes):
  wide = x.astype(jnp.float32)
  mean = jnp.mean(wide, axes, keepdims=True)
  variance = jnp.mean(jnp.square(wide - mean), axes, keepdims=True)
  inverse = jax.lax.rsqrt(variance + epsilon)
  y = (wide - mean) * (inverse * scale) + bias
  return (y.astype(x.dtype), mean, variance), (x, scale, mean, inverse)


def _normalize_bwd(epsilon, axes, residuals, cotangents):
  x, scale, mean, inverse = residuals
  g = cotangents[0].astype(jnp.float32)
  normalized = (x.astype(jnp.float32) - mean) * inverse
  total = jnp.sum(g, axes, keepdims=True)
  product = jnp.sum(g * normalized, axes, keepdims=True)
  count = x.size // inverse.size
  dx = (scale * inverse) * (g - (total + normalized * product) / count)
  flat = (-1, x.shape[-1])
  return dx.astype(x.dtype), product.reshape(flat).sum(0), total.reshape(flat).sum(0)


_normalize.defvjp(_normalize_fwd, _normalize_bwd)


def configure_batch_norm(model: nnx.Module, *, momentum: float | None = None, group_size: int | None = None) -> None:
  """Sets the group size, and the momentum unless it is None, of every `BatchNorm` in the model.

  Args:
    model: is changed in place.
    momentum: as `BatchNorm` takes it; None keeps that of each layer.
    group_size: as `BatchNorm` takes it.

  Example:
    >>> from flax import nnx
    >>> from cnn_zoo.layers import BatchNorm, configure_batch_norm
    >>> model = nnx.List([BatchNorm(2), BatchNorm(3)])
    >>> configure_batch_norm(model, group_size=4)
    >>> [layer.group_size for layer in model]
    [4, 4]
  """
  for _, module in nnx.iter_modules(model):
    if isinstance(module, BatchNorm):
      module.group_size = group_size
      module.momentum = module.momentum if momentum is None else momentum

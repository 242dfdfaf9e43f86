"""Initial values of parameters, drawn by NumPy on the host.

JAX's own initialisers compile one kernel for every distinct shape: 13 to 18 s for EfficientNet-B0. NumPy's generator,
seeded from the layer's key, takes about one.
"""

import functools
from collections.abc import Callable

import jax
import jax.core
import jax.numpy as jnp
import numpy as np

from cnn_zoo.errors import UserError

Initializer = Callable[[np.random.Generator, tuple[int, ...], float, float], np.ndarray]
"""(generator, shape, fan_in, fan_out) -> values. Fans count the connections of one unit, whatever the groups."""


def draw(key: jax.Array, init: Initializer, shape: tuple[int, ...], fan_in: float, fan_out: float):
  """float32 values of `init` for a parameter of `shape`: a function of `key` alone, the same inside and outside `jit`.

  Inside `jax.eval_shape` nothing is drawn, so a model of any size can be described without building its weights.
  """

  def values(data):
    generator = np.random.default_rng(np.asarray(data))
    return np.asarray(init(generator, shape, fan_in, fan_out), np.float32)

  data = jax.random.key_data(key) if jnp.issubdtype(key.dtype, jax.dtypes.prng_key) else key
  if isinstance(data, jax.core.Tracer):
    return jax.pure_callback(values, jax.ShapeDtypeStruct(shape, jnp.float32), data)
  return jax.device_put(values(data))


def zeros(generator, shape, fan_in, fan_out):
  """All zeros."""
  return np.zeros(shape, np.float32)


def ones(generator, shape, fan_in, fan_out):
  """All ones."""
  return np.ones(shape, np.float32)


def constant(value: float) -> Initializer:
  """`value` everywhere."""

  def init(generator, shape, fan_in, fan_out):
    return np.full(shape, value, np.float32)

  return init


def glorot_uniform(generator, shape, fan_in, fan_out):
  """Uniform in +-sqrt(6 / (fan_in + fan_out)), for tanh (Glorot and Bengio 2010, eq. 16)."""
  limit = np.sqrt(6 / (fan_in + fan_out))
  return generator.uniform(-limit, limit, shape).astype(np.float32)


def he_normal_fan_out(generator, shape, fan_in, fan_out):
  """Normal with variance 2 / fan_out, which keeps the variance of gradients through ReLUs (He et al. 2015, eq. 14)."""
  return generator.standard_normal(shape, np.float32) * np.float32(np.sqrt(2 / fan_out))


def he_normal_fan_in(generator, shape, fan_in, fan_out):
  """Normal with variance 2 / fan_in, which keeps the variance of activations through ReLUs (He et al. 2015, eq. 10)."""
  return generator.standard_normal(shape, np.float32) * np.float32(np.sqrt(2 / fan_in))


def lecun_uniform(generator, shape, fan_in, fan_out):
  """Uniform in +-sqrt(3 / fan_in): unit variance of the sum (LeCun et al. 1998, Efficient BackProp, section 4.6)."""
  limit = np.sqrt(3 / fan_in)
  return generator.uniform(-limit, limit, shape).astype(np.float32)


def uniform_fan_in(generator, shape, fan_in, fan_out):
  """Uniform in +-1 / sqrt(fan_in): what PyTorch's linear layers and convolutions start from."""
  limit = 1 / np.sqrt(fan_in)
  return generator.uniform(-limit, limit, shape).astype(np.float32)


def uniform_fan_out(generator, shape, fan_in, fan_out):
  """Uniform in +-1 / sqrt(fan_out): EfficientNet's classifier."""
  limit = 1 / np.sqrt(fan_out)
  return generator.uniform(-limit, limit, shape).astype(np.float32)


def normal(deviation: float) -> Initializer:
  """Normal with that standard deviation, whatever the fans."""

  def init(generator, shape, fan_in, fan_out):
    return generator.standard_normal(shape, np.float32) * np.float32(deviation)

  return init


def truncated_normal(deviation: float) -> Initializer:
  """Normal without its tails beyond two sigma, scaled so that what is left has that standard deviation."""

  def init(generator, shape, fan_in, fan_out):
    x = generator.standard_normal(shape, np.float32)
    while (outside := np.abs(x) > 2).any():
      x[outside] = generator.standard_normal(np.count_nonzero(outside), np.float32)
    return x * np.float32(deviation / 0.8796256610342398)  # the standard deviation of a normal cut off at two

  return init


def bilinear(generator, shape, fan_in, fan_out):
  """What makes a transposed convolution interpolate each channel by itself (Long et al. 2015, section 3.3).

  Linear along every axis, for kernels twice as long as the strides. The shape is [*kernel_size, in / groups, out].

  Raises:
    UserError: unless there are as many inputs as outputs, or one for each group.
  """
  *sizes, inputs, outputs = shape
  if inputs not in (1, outputs):
    raise UserError(f"bilinear initial values need as many outputs as inputs, not {inputs} -> {outputs} channels")
  tents = [1 - np.abs(np.arange(size) - (size - 1) / 2) / ((size + 1) // 2) for size in sizes]
  channels = np.eye(inputs) if inputs == outputs else np.ones((1, outputs))
  return np.multiply.outer(functools.reduce(np.multiply.outer, tents), channels).astype(np.float32)

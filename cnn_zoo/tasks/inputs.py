"""Normalises what is stored to what a model computes with."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from cnn_zoo.errors import UserError

# The value of one, by dtype: white of pixels, full scale of samples.
_ONE = {"uint8": 255, "int16": 32768}


def normalize(x: jax.Array, mean: Sequence[float], std: Sequence[float], dtype) -> jax.Array:
  """Scales pixels to [0, 1] or samples to [-1, 1], subtracts `mean` and divides by `std`.

  Args:
    x: uint8 pixels or int16 samples, `[batch, *spatial, channels]`.
    mean: one number for all channels, or one a channel.
    std: the same.
    dtype: of the result.

  Returns:
    `[batch, *spatial, channels]` of `dtype`.

  Raises:
    UserError: if `mean` or `std` has another number of elements, or one of `std` is not above 0.

  Example:
    >>> normalize(jnp.array([[[0], [255]]], jnp.uint8), (0.5,), (0.25,), jnp.float32).ravel()
    Array([-2.,  2.], dtype=float32)
  """
  for field, numbers in (("mean", mean), ("std", std)):
    if len(numbers) not in (1, x.shape[-1]) or (field == "std" and min(numbers) <= 0):
      raise UserError(
        f"config.data.{field}={tuple(numbers)} must be one number{' above 0' * (field == 'std')}, "
        f"or one for each of {x.shape[-1]} channels"
      )
  centred = x.astype(jnp.float32) / _ONE[x.dtype.name] - np.asarray(mean, np.float32)
  return (centred / np.asarray(std, np.float32)).astype(dtype)

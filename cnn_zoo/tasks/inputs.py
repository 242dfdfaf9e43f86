"""From what is stored to what a model sees."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from cnn_zoo.errors import UserError

# What one is, by dtype: white in pixels, full scale in waveforms.
_ONE = {"uint8": 255, "int16": 32768}


def normalize(x: jax.Array, mean: Sequence[float], std: Sequence[float], dtype) -> jax.Array:
  """Pixels (uint8) in [0, 1] or samples (int16) in [-1, 1] -> (x - mean) / std in `dtype`.

  Args:
    x: [batch, *spatial, channels].
    mean, std: one number for all channels, or one a channel.
    dtype: of the result.

  Raises:
    UserError: if there are other numbers of them, or one of `std` is not above 0.
  """
  for field, numbers in (("mean", mean), ("std", std)):
    if len(numbers) not in (1, x.shape[-1]) or (field == "std" and min(numbers) <= 0):
      raise UserError(
        f"config.data.{field}={tuple(numbers)} must be one number{' above 0' * (field == 'std')}, "
        f"or one for each of {x.shape[-1]} channels"
      )
  mean, std = np.asarray(mean, np.float32), np.asarray(std, np.float32)
  return ((x.astype(jnp.float32) / _ONE[x.dtype.name] - mean) / std).astype(dtype)

"""Local response normalisation (Krizhevsky et al. 2012, ImageNet Classification with Deep Convolutional Networks)."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from cnn_zoo.errors import UserError


def local_response_normalization(
  x: jax.Array, *, size: int = 5, k: float = 2.0, alpha: float = 1e-4, beta: float = 0.75
) -> jax.Array:
  """x / (k + alpha * sum of squares over the `size` channels around each)^beta, at every position (section 3.3).

  Computed in float32. The sum is over the channels that exist, with an even `size` one more before it than after it.
  Caffe's and PyTorch's alpha is `size` times this one.

  Args:
    x: [batch, *spatial, channels].
    size: n of the paper, with its value.
    k: of the paper, with its value.
    alpha: of the paper, with its value.
    beta: of the paper, with its value.

  Returns:
    An array of the shape and dtype of x.

  Raises:
    UserError: for a `size` below 1.

  Example:
    >>> import jax.numpy as jnp
    >>> from cnn_zoo.layers import local_response_normalization
    >>> local_response_normalization(jnp.asarray([[3.0, 4.0]]), size=3, k=0.0, alpha=1.0, beta=0.5).round(3)
    Array([[0.6, 0.8]], dtype=float32)
  """
  if size < 1:
    raise UserError(f"size={size} of local response normalisation must be at least 1")
  wide = x.astype(jnp.float32)
  ones, before = (1,) * (x.ndim - 1), size // 2
  padding = [(0, 0)] * (x.ndim - 1) + [(before, size - 1 - before)]
  sums = lax.reduce_window(wide * wide, np.float32(0), lax.add, (*ones, size), (*ones, 1), padding)
  return (wide * jnp.exp(-beta * jnp.log(k + alpha * sums))).astype(x.dtype)  # several times faster than a power

"""Max-pooling as the maximum of shifted inputs; tests/layers/test_pooling.py compares it with other ways."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_zoo.layers.shifted_max_pool import shifted_max_pool


@pytest.mark.parametrize(
  ("window", "strides", "padding"), [((3, 2), (2, 1), ((1, 1), (0, 1))), ((2, 2), (3, 3), ((0, 0), (1, 2)))], ids=str
)
def test_values_and_gradient_are_those_of_xla(window, strides, padding):
  x = jax.random.normal(jax.random.key(0), (2, 7, 6, 3))
  edges = ((0, 0), *padding, (0, 0))

  def xla(x):
    return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, *window, 1), (1, *strides, 1), edges)

  y, pull = jax.vjp(lambda x: shifted_max_pool(x, window, strides, padding), x)
  expected, expected_pull = jax.vjp(xla, x)
  np.testing.assert_array_equal(y, expected)
  np.testing.assert_allclose(pull(jnp.cos(y)), expected_pull(jnp.cos(y)), rtol=1e-6)


def test_the_first_of_equal_elements_and_nan():
  x = jnp.asarray([2.0, 2.0, jnp.nan, 5.0, jnp.nan, 1.0]).reshape(1, 6, 1)
  y, pull = jax.vjp(lambda x: shifted_max_pool(x, (2,), (2,), ((0, 0),)), x)
  np.testing.assert_array_equal(y.ravel(), [2, np.nan, np.nan])
  np.testing.assert_array_equal(pull(jnp.ones_like(y))[0].ravel(), [1, 0, 1, 0, 1, 0])

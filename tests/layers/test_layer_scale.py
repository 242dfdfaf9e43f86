import jax.numpy as jnp
import numpy as np
from flax import nnx

from cnn_zoo.layers import LayerScale


def test_each_channel_has_its_own():
  layer = LayerScale(3, value=0.25)
  x = jnp.arange(12.0).reshape(2, 2, 3)
  np.testing.assert_array_equal(layer(x), 0.25 * x)
  layer.gamma.set_value(jnp.asarray([1.0, 2.0, -1.0]))
  np.testing.assert_array_equal(layer(x), x * np.array([1.0, 2.0, -1.0]))
  assert layer(x.astype(jnp.bfloat16)).dtype == jnp.bfloat16


def test_it_is_learned():
  gradient = nnx.grad(lambda layer: jnp.sum(layer(jnp.array([[1.0, 2.0], [3.0, 4.0]]))))(LayerScale(2))
  np.testing.assert_array_equal(gradient.gamma[...], [4.0, 6.0])

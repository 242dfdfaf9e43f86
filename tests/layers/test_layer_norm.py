import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from cnn_zoo.layers import LayerNorm


def learned(features, **options):
  """A layer with a scale and a bias that are not 1 and 0."""
  rng, layer = np.random.default_rng(1), LayerNorm(features, **options)
  layer.scale.set_value(jnp.asarray(1 + 0.5 * rng.standard_normal(features), jnp.float32))
  layer.bias.set_value(jnp.asarray(rng.standard_normal(features), jnp.float32))
  return layer


def expected(layer, x):
  wide = np.asarray(x, np.float64)
  mean, variance = wide.mean(-1, keepdims=True), wide.var(-1, keepdims=True)
  return (wide - mean) / np.sqrt(variance + layer.epsilon) * np.asarray(layer.scale[...]) + np.asarray(layer.bias[...])


@pytest.mark.parametrize("shape", [(4, 6), (4, 5, 6), (4, 5, 3, 6), (2, 3, 2, 4, 6)])
@pytest.mark.parametrize("epsilon", [1e-6, 0.1])
def test_each_position_by_its_own_channels(shape, epsilon):
  x = (100 + 3 * np.random.default_rng(0).standard_normal(shape)).astype(np.float32)
  layer = learned(6, epsilon=epsilon)
  np.testing.assert_allclose(layer(jnp.asarray(x)), expected(layer, x), atol=2e-5)
  np.testing.assert_array_equal(jax.jit(layer)(x[:1]), jax.jit(layer)(x)[:1])  # whatever the rest of the batch


def test_it_starts_as_the_plain_normalisation():
  y = np.asarray(LayerNorm(64)(jax.random.normal(jax.random.key(0), (8, 64)) * 3 + 1))
  np.testing.assert_allclose(y.mean(-1), 0, atol=1e-5)
  np.testing.assert_allclose(y.std(-1), 1, atol=1e-5)


def test_bfloat16_is_normalised_in_float32():
  x = (1000 + 8 * np.random.default_rng(0).standard_normal((4, 96))).astype(jnp.bfloat16)
  layer = learned(96)
  y = layer(jnp.asarray(x))
  assert y.dtype == jnp.bfloat16
  np.testing.assert_allclose(np.asarray(y, np.float64), expected(layer, x), rtol=2**-8, atol=1e-5)


def test_gradient_of_equal_channels_is_finite():
  graph, params = nnx.split(learned(5))
  x = jnp.full((2, 5), 3.0)
  weights = jnp.arange(10.0).reshape(2, 5)
  gradients = jax.grad(lambda params, x: jnp.sum(weights * nnx.merge(graph, params)(x)), (0, 1))(params, x)
  assert all(np.isfinite(g).all() for g in jax.tree.leaves(gradients))

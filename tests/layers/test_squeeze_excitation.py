import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from cnn_zoo.layers import SqueezeExcitation


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_against_numpy(rank):
  layer = SqueezeExcitation(6, 2, rank=rank, activation=jax.nn.relu, rngs=nnx.Rngs(0))
  layer.reduce.bias.set_value(jnp.asarray([0.1, -0.2]))
  layer.expand.bias.set_value(jnp.linspace(-1, 1, 6))
  x = np.random.default_rng(0).standard_normal((3, *(4,) * rank, 6)).astype(np.float32)
  means = x.reshape(3, -1, 6).mean(1)
  kernels = [np.asarray(c.kernel[...])[(0,) * rank] for c in (layer.reduce, layer.expand)]
  squeezed = np.maximum(means @ kernels[0] + [0.1, -0.2], 0)
  gate = 1 / (1 + np.exp(-(squeezed @ kernels[1] + np.linspace(-1, 1, 6))))
  y = layer(jnp.asarray(x))
  np.testing.assert_allclose(y, x * gate.reshape(3, *(1,) * rank, 6), rtol=1e-4, atol=1e-5)


def test_options():
  layer = SqueezeExcitation(4, 1, gate=jax.nn.hard_sigmoid, rngs=nnx.Rngs(0))
  layer.expand.bias.set_value(jnp.full(4, 100.0))
  x = jnp.ones((1, 2, 2, 4), jnp.bfloat16)
  y = layer(x)
  assert y.dtype == jnp.bfloat16
  np.testing.assert_array_equal(np.asarray(y, np.float32), np.ones(x.shape))  # a hard gate reaches 1

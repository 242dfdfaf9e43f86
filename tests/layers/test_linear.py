import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from cnn_zoo.errors import UserError
from cnn_zoo.layers import Linear


@pytest.mark.parametrize("shape", [(5, 4), (2, 3, 4)])
def test_against_numpy(shape):
  layer = Linear(4, 3, rngs=nnx.Rngs(0))
  layer.bias.set_value(jnp.asarray([1.0, 2.0, 3.0]))
  x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
  y = layer(jnp.asarray(x))
  np.testing.assert_allclose(y, x @ np.asarray(layer.kernel[...]) + [1, 2, 3], rtol=1e-5, atol=1e-5)
  assert layer.output_shape(shape) == y.shape
  assert layer.multiply_adds(shape) == np.prod(shape) * 3


def test_without_bias_and_dtype():
  layer = Linear(4, 3, use_bias=False, rngs=nnx.Rngs(0))
  assert layer.bias is None
  assert layer(jnp.ones((1, 4), jnp.bfloat16)).dtype == jnp.bfloat16
  assert layer.kernel[...].dtype == jnp.float32


def test_an_input_of_another_width_is_refused():
  with pytest.raises(UserError, match=r"input \(2, 5\) does not fit in_features=4"):
    Linear(4, 3, rngs=nnx.Rngs(0))(jnp.ones((2, 5)))

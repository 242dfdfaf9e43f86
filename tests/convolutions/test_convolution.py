import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from cnn_zoo.convolutions import Convolution
from cnn_zoo.errors import UserError


def test_a_convolution_by_hand():
  layer = Convolution(1, 1, (3,), padding=((1, 0),), rngs=nnx.Rngs(0))
  layer.kernel.set_value(jnp.asarray([1.0, 10.0, 100.0]).reshape(3, 1, 1))
  layer.bias.set_value(jnp.asarray([0.5]))
  x = jnp.asarray([1.0, 2.0, 3.0, 4.0]).reshape(1, 4, 1)
  # No kernel is flipped: deep learning's convolution is a correlation.
  np.testing.assert_allclose(layer(x).ravel(), [210.5, 321.5, 432.5])


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_shape_and_cost(rank):
  options = {"strides": 2, "padding": 1, "groups": 2, "rngs": nnx.Rngs(0)}
  layer = Convolution(4, 6, (3,) * rank, **options)
  shape = (2, *(9,) * rank, 4)
  assert layer(jnp.zeros(shape)).shape == layer.output_shape(shape) == (2, *(5,) * rank, 6)
  assert layer.multiply_adds(shape) == 2 * 5**rank * 6 * 3**rank * 2
  assert layer.kernel[...].shape == (*(3,) * rank, 2, 6)


def test_dtype_is_that_of_the_input():
  layer = Convolution(3, 4, (3, 3), rngs=nnx.Rngs(0))
  y = layer(jnp.ones((1, 5, 5, 3), jnp.bfloat16))
  assert y.dtype == jnp.bfloat16
  assert layer.kernel[...].dtype == layer.bias[...].dtype == jnp.float32
  np.testing.assert_allclose(np.asarray(y, np.float32), layer(jnp.ones((1, 5, 5, 3))), atol=0.05)


def test_causal_convolution_sees_no_future():
  layer = Convolution(2, 3, (3,), padding="CAUSAL", dilation=2, rngs=nnx.Rngs(0))
  x = jax.random.normal(jax.random.key(0), (1, 12, 2))
  difference = np.abs(np.asarray(layer(x.at[:, 6].add(1.0)) - layer(x))).max((0, 2))
  assert difference.shape == (12,)
  assert not difference[:6].any() and difference[[6, 8, 10]].all()


@pytest.mark.parametrize(
  ("options", "shape", "message"),
  [
    ({"kernel_size": 3}, None, r"kernel_size=3 must have one size for each spatial axis"),
    ({"kernel_size": ()}, None, r"kernel_size=\(\) must have one size"),
    ({"kernel_size": (3, 0)}, None, r"kernel_size=\(3, 0\) must be at least 1"),
    ({"strides": 0}, None, "strides=0 must be at least 1"),
    ({"strides": (1, 1, 1)}, None, "has 3 axes; valid: one number, or one for each of 2 axes"),
    ({"dilation": (1, 0)}, None, r"dilation=\(1, 0\) must be at least 1"),
    ({"groups": 3}, None, "groups=3 must divide in_features=4"),
    ({"groups": 0}, None, "groups=0"),
    ({"padding": "FULL"}, None, "padding='FULL' is not known"),
    ({"padding": "CAUSAL"}, None, "padding='CAUSAL' needs a kernel of rank 1, this one has rank 2"),
    ({"padding": (1, 2, 3)}, None, r"one for each spatial axis \(2\)"),
    ({"in_features": 0}, None, "in_features=0 and out_features=8 must be at least 1"),
    ({"out_features": -1}, None, "in_features=4 and out_features=-1 must be at least 1"),
    ({}, (1, 8, 8, 3), r"input \(1, 8, 8, 3\) does not fit"),
    ({}, (1, 8, 4), "2 spatial axes"),
    ({"padding": "VALID"}, (1, 2, 8, 4), "too small"),
  ],
)
def test_mistakes(options, shape, message):
  options = {"in_features": 4, "out_features": 8, "kernel_size": (3, 3)} | options
  with pytest.raises(UserError, match=message) as error:
    Convolution(**options, rngs=nnx.Rngs(0))(jnp.zeros(shape))
  assert "\n" not in str(error.value)

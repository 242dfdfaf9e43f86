import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from cnn_zoo.convolutions import Convolution, initializers
from cnn_zoo.layers import Linear


def test_numbers_depend_on_the_key_alone():
  def draw(key):
    return initializers.draw(key, initializers.he_normal_fan_out, (3, 3, 4, 8), 36, 72)

  first = draw(jax.random.key(3))
  np.testing.assert_array_equal(first, draw(jax.random.key(3)))
  np.testing.assert_array_equal(first, jax.jit(draw)(jax.random.key(3)))
  np.testing.assert_array_equal(first, draw(jax.random.PRNGKey(3)))
  assert np.abs(np.asarray(first) - np.asarray(draw(jax.random.key(4)))).max() > 0.01
  assert first.dtype == jnp.float32


def test_layers_of_one_rngs_differ():
  rngs = nnx.Rngs(0)
  first, second = (Convolution(4, 4, (3, 3), rngs=rngs).kernel[...] for _ in range(2))
  assert np.abs(np.asarray(first) - np.asarray(second)).max() > 0.01


def test_nothing_is_drawn_abstractly():
  def forbidden(*_):
    raise AssertionError("drawn")

  layer = nnx.eval_shape(lambda: Convolution(4, 8, (3, 3), kernel_init=forbidden, rngs=nnx.Rngs(0)))
  kernel = layer.kernel.get_value()
  assert isinstance(kernel, jax.ShapeDtypeStruct) and kernel.shape == (3, 3, 4, 8) and kernel.dtype == jnp.float32


@pytest.mark.parametrize(
  ("init", "fan", "factor"),
  [
    (initializers.he_normal_fan_out, "out", 2),
    (initializers.lecun_uniform, "in", 1),
    (initializers.he_normal_fan_in, "in", 2),
    (initializers.uniform_fan_in, "in", 1 / 3),
    (initializers.uniform_fan_out, "out", 1 / 3),
  ],
)
@pytest.mark.parametrize(
  ("features", "groups", "fans"),
  [((96, 128), 1, {"in": 9 * 96, "out": 9 * 128}), ((4096, 8192), 4096, {"in": 9, "out": 18})],
  ids=["standard", "depthwise"],
)
def test_variance(init, fan, factor, features, groups, fans):
  layer = Convolution(*features, (3, 3), groups=groups, kernel_init=init, rngs=nnx.Rngs(0))
  kernel = np.asarray(layer.kernel[...], np.float64)
  assert kernel.var() == pytest.approx(factor / fans[fan], rel=0.03)
  assert abs(kernel.mean()) < 0.02 * kernel.std()
  np.testing.assert_array_equal(layer.bias[...], np.zeros(features[1]))


def test_variance_of_linear():
  kernel = np.asarray(Linear(300, 500, rngs=nnx.Rngs(0)).kernel[...])
  assert kernel.var() == pytest.approx(1 / 300, rel=0.03)
  assert np.abs(kernel).max() <= np.sqrt(3 / 300)


def test_ones():
  layer = Convolution(1, 2, (1,), bias_init=initializers.ones, rngs=nnx.Rngs(0))
  np.testing.assert_array_equal(layer.bias[...], np.ones(2))


@pytest.mark.parametrize(("init", "largest"), [(initializers.normal, 3.5), (initializers.truncated_normal, 2 / 0.8796)])
def test_a_given_deviation(init, largest):
  kernel = np.asarray(Linear(300, 500, kernel_init=init(0.02), rngs=nnx.Rngs(0)).kernel[...], np.float64)
  assert kernel.std() == pytest.approx(0.02, rel=0.01)
  assert abs(kernel.mean()) < 0.01 * 0.02
  # Of 150,000 numbers the largest of a normal is beyond 3.5 deviations; the other ends where it is cut off.
  beyond = np.abs(kernel).max() / 0.02 / largest
  assert beyond > 1 if init is initializers.normal else 0.99 < beyond <= 1

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from cnn_zoo.errors import UserError
from cnn_zoo.layers import BatchNorm, configure_batch_norm
from cnn_zoo.layers.normalization import _train
from tests.helpers.lowerings import forward_mode, second_derivatives


def inputs(shape=(6, 5, 4, 3), seed=0):
  return (2 + 3 * np.random.default_rng(seed).standard_normal(shape)).astype(np.float32)


def learned(layer, seed=1):
  """The layer with a scale and a bias that are not 1 and 0."""
  rng = np.random.default_rng(seed)
  layer.scale.set_value(jnp.asarray(1 + 0.5 * rng.standard_normal(layer.features), jnp.float32))
  layer.bias.set_value(jnp.asarray(rng.standard_normal(layer.features), jnp.float32))
  return layer


def plain(x, scale, bias, epsilon, group_size=None):
  """Batch normalisation in training as its paper writes it; differentiable."""
  groups = x.reshape(-1, group_size or x.shape[0], *x.shape[1:])
  axes = tuple(range(1, groups.ndim - 1))
  mean, variance = groups.mean(axes, keepdims=True), groups.var(axes, keepdims=True)
  return ((groups - mean) / jnp.sqrt(variance + epsilon) * scale + bias).reshape(x.shape)


@pytest.mark.parametrize("shape", [(6, 3), (6, 5, 3), (6, 5, 4, 3), (2, 3, 2, 4, 3)])
def test_training_statistics(shape):
  x, layer = inputs(shape), learned(BatchNorm(3, momentum=0.7, epsilon=1e-3))
  y = layer(jnp.asarray(x))
  wide = x.reshape(-1, 3).astype(np.float64)
  expected = (x - wide.mean(0)) / np.sqrt(wide.var(0) + 1e-3) * np.asarray(layer.scale[...]) + layer.bias[...]
  np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)
  np.testing.assert_allclose(layer.mean[...], 0.3 * wide.mean(0), rtol=1e-5)
  np.testing.assert_allclose(layer.variance[...], 0.7 + 0.3 * wide.var(0, ddof=1), rtol=1e-5)


def test_running_averages_move_step_by_step():
  layer, mean, variance = BatchNorm(3, momentum=0.9), np.zeros(3), np.ones(3)
  for seed in range(3):
    x = inputs(seed=seed)
    layer(jnp.asarray(x))
    mean = 0.9 * mean + 0.1 * x.reshape(-1, 3).mean(0)
    variance = 0.9 * variance + 0.1 * x.reshape(-1, 3).var(0, ddof=1)
  np.testing.assert_allclose(layer.mean[...], mean, rtol=1e-5)
  np.testing.assert_allclose(layer.variance[...], variance, rtol=1e-5)


def test_evaluation_uses_running_averages_and_keeps_them():
  x, layer = inputs(), learned(BatchNorm(3, epsilon=1e-3))
  layer.mean.set_value(jnp.asarray([1.0, 2.0, 3.0]))
  layer.variance.set_value(jnp.asarray([0.5, 1.0, 4.0]))
  layer.eval()
  y = layer(jnp.asarray(x))
  expected = (x - [1, 2, 3]) / np.sqrt(np.array([0.5, 1, 4]) + 1e-3) * np.asarray(layer.scale[...]) + layer.bias[...]
  np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)
  np.testing.assert_array_equal(layer.mean[...], [1, 2, 3])
  np.testing.assert_allclose(layer(jnp.asarray(x[:1])), y[:1], rtol=1e-6)  # whatever the rest of the batch


@pytest.mark.parametrize("group_size", [None, 2])
def test_gradient_is_that_of_the_formula(group_size):
  x, layer = jnp.asarray(inputs()), learned(BatchNorm(3))
  g = jnp.asarray(np.random.default_rng(5).standard_normal(x.shape), jnp.float32)
  scale, bias, size = layer.scale[...], layer.bias[...], group_size or len(x)
  averages = layer.mean[...], layer.variance[...]

  def ours(x, scale, bias):
    return jnp.sum(g * _train(x, scale, bias, *averages, 0.9, 1e-5, size)[0])

  def formula(x, scale, bias):
    return jnp.sum(g * plain(x, scale, bias, 1e-5, group_size))

  actual, expected = (jax.jit(jax.grad(f, (0, 1, 2)))(x, scale, bias) for f in (ours, formula))
  for a, e in zip(actual, expected, strict=True):
    np.testing.assert_allclose(a, e, rtol=1e-4, atol=1e-5 * float(jnp.abs(e).max()))


def test_a_group_is_a_small_batch_of_its_own():
  x, grouped = jnp.asarray(inputs()), learned(BatchNorm(3, group_size=2))
  y, means, variances = grouped(x), [], []
  for start in range(0, 6, 2):
    alone = learned(BatchNorm(3))
    np.testing.assert_allclose(alone(x[start : start + 2]), y[start : start + 2], rtol=1e-5, atol=1e-5)
    means.append(alone.mean[...])
    variances.append(alone.variance[...])
  np.testing.assert_allclose(grouped.mean[...], np.mean(means, 0), rtol=1e-5)
  np.testing.assert_allclose(grouped.variance[...], np.mean(variances, 0), rtol=1e-5)


def test_bfloat16_input_has_float32_statistics():
  x = jnp.asarray(100 + inputs(), jnp.bfloat16)
  layer, reference = BatchNorm(3, momentum=0.0), BatchNorm(3, momentum=0.0)
  y = layer(x)
  assert y.dtype == jnp.bfloat16 and layer.mean[...].dtype == layer.variance[...].dtype == jnp.float32
  np.testing.assert_allclose(np.asarray(y, np.float32), reference(x.astype(jnp.float32)), rtol=1e-2, atol=1e-2)
  np.testing.assert_allclose(layer.variance[...], reference.variance[...], rtol=1e-5)
  gradient = jax.grad(lambda x: jnp.sum(BatchNorm(3)(x).astype(jnp.float32) ** 3))(x)
  assert gradient.dtype == jnp.bfloat16
  layer.eval()
  assert layer(x).dtype == jnp.bfloat16


def test_a_group_that_does_not_divide_is_refused():
  with pytest.raises(UserError, match=r"batch_norm.group_size=4 does not divide the batch of 6"):
    BatchNorm(3, group_size=4)(jnp.asarray(inputs()))


def test_configure():
  model = nnx.List([BatchNorm(2), BatchNorm(3, momentum=0.5)])
  configure_batch_norm(model, group_size=4)
  assert [(m.group_size, m.momentum) for m in model] == [(4, 0.9), (4, 0.5)]
  configure_batch_norm(model, momentum=0.99)
  assert [(m.group_size, m.momentum) for m in model] == [(None, 0.99), (None, 0.99)]


@pytest.mark.parametrize(
  ("shape", "group_size"), [((1, 1, 1, 2), None), ((1, 2), None), ((4, 1, 1, 2), 1), ((4, 2), 1)], ids=str
)
def test_a_single_value_per_channel_is_refused_in_training(shape, group_size):
  """Its variance is 0 and its normalised value 0, whatever the input; PyTorch refuses it too."""
  layer = BatchNorm(2, group_size=group_size)
  message = r"more than one value per channel in training: BatchNorm\(2\).* a larger config\.batch_size, "
  message += rf"a smaller config\.accumulate, a config\.batch_norm\.group_size above 1 \(now {group_size}\)"
  with pytest.raises(UserError, match=message) as error:
    layer(jnp.ones(shape))
  assert "\n" not in str(error.value)
  np.testing.assert_array_equal(layer.variance[...], [1, 1])
  layer.eval()
  assert layer(jnp.ones(shape)).shape == shape


def test_two_values_per_channel_are_normalised():
  layer = BatchNorm(2, momentum=0.0)
  y = layer(jnp.asarray([[[[1.0, 2.0]]], [[[7.0, 2.0]]]]))
  np.testing.assert_allclose(y[:, 0, 0, 0], [-1, 1], atol=1e-5)
  np.testing.assert_allclose(layer.variance[...], [18, 0], atol=1e-5)


def test_forward_mode_in_evaluation():
  """Evaluation is affine: the tangent is the difference of two outputs."""
  layer = BatchNorm(3)
  layer.mean.set_value(jnp.asarray([1.0, -2.0, 0.5]))
  layer.variance.set_value(jnp.asarray([4.0, 0.25, 1.0]))
  layer.eval()
  x, v = jax.random.normal(jax.random.key(0), (2, 4, 5, 3))
  y, tangent = jax.jvp(layer, (x,), (v,))
  np.testing.assert_allclose(tangent, layer(x + v) - y, atol=1e-5)


def training_and_formula(group_size, layer):
  """Two functions (x, scale, bias) -> output in training mode: that of the layer, and the definition."""
  averages = layer.mean[...], layer.variance[...]
  ours = lambda x, scale, bias: _train(x, scale, bias, *averages, 0.9, 1e-5, group_size or x.shape[0])[0]  # noqa: E731
  return ours, lambda x, scale, bias: plain(x, scale, bias, 1e-5, group_size)


@pytest.mark.parametrize("transformation", [forward_mode, second_derivatives])
@pytest.mark.parametrize("group_size", [None, 2])
def test_forward_mode_and_second_derivatives_in_training(group_size, transformation):
  layer = learned(BatchNorm(3))
  primals = jnp.asarray(inputs((6, 5, 3))), layer.scale[...], layer.bias[...]
  functions = training_and_formula(group_size, layer)
  actual, expected = (jax.jit(functools.partial(transformation, f))(*primals) for f in functions)
  for a, e in zip(*map(jax.tree.leaves, (actual, expected)), strict=True):
    np.testing.assert_allclose(a, e, rtol=1e-4, atol=2e-5 * float(jnp.abs(e).max()))


def test_derivatives_under_vmap():
  layer = learned(BatchNorm(3))
  xs, scale, bias = jnp.stack([inputs((6, 3), seed) for seed in (1, 2)]), layer.scale[...], layer.bias[...]

  def derivatives(f):
    gradients = jax.grad(lambda xs: jnp.sum(jnp.sin(jax.vmap(f, (0, None, None))(xs, scale, bias))))(xs)
    return gradients, jax.jacfwd(f)(xs[0], scale, bias), jax.vmap(jax.jacrev(f), (0, None, None))(xs, scale, bias)

  for a, e in zip(*map(derivatives, training_and_formula(None, layer)), strict=True):
    np.testing.assert_allclose(a, e, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("group_size", [None, 2])
def test_a_gradient_keeps_only_the_input(group_size):
  """In its own dtype; everything else that the backward pass needs is small."""
  x, layer = jnp.asarray(inputs(), jnp.bfloat16), learned(BatchNorm(3))
  ours, _ = training_and_formula(group_size, layer)
  _, pull = jax.vjp(ours, x, layer.scale[...], layer.bias[...])
  assert [kept.dtype for kept in jax.tree.leaves(pull) if kept.size >= x.size] == [jnp.bfloat16]

"""The head of AlexNet, ZFNet, VGG and C3D."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from cnn_zoo.convolutions.initializers import he_normal_fan_in
from cnn_zoo.models.fully_connected import FullyConnectedHead


def head(**options):
  sizes = {"rank": 2, "hidden_features": 5, "dropout_rate": 0.5, "kernel_init": he_normal_fan_in}
  return FullyConnectedHead(3, 2, 4, **sizes, **options, rngs=nnx.Rngs(params=0, dropout=1))


def test_layers_in_evaluation():
  """Channels come first in the order of the inputs, as in the weights of PyTorch."""
  model = head()
  model.eval()
  x = jax.random.normal(jax.random.key(0), (2, 2, 2, 3))
  y = jnp.moveaxis(x, -1, 1).reshape(2, 12)
  for layer in model.hidden:
    y = jax.nn.relu(y @ layer.kernel[...] + layer.bias[...])
  y = y @ model.classifier.kernel[...] + model.classifier.bias[...]
  np.testing.assert_allclose(model(x), y, rtol=1e-5, atol=1e-6)


def test_a_larger_map_is_averaged_over_the_cells():
  model = head()
  model.eval()
  x = jax.random.normal(jax.random.key(0), (2, 2, 2, 3))
  np.testing.assert_allclose(model(jnp.repeat(jnp.repeat(x, 3, 1), 2, 2)), model(x), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("first", [False, True])
def test_where_dropout_is(first):
  """Over equal inputs, dropped inputs of the mean give many values; dropped outputs of it are 0 or doubled."""
  model = head(dropout_first=first)
  model.hidden[0].kernel.set_value(jnp.full((12, 5), 1 / 12))
  model.hidden[1].kernel.set_value(jnp.eye(5))
  model.classifier.kernel.set_value(jnp.eye(5, 4))
  values = np.unique(np.asarray(model(jnp.ones((64, 2, 2, 3)))).round(4))
  assert values[0] == 0 and (len(values) > 3 if first else values.tolist() == [0, 4])

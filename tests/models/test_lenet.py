import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from cnn_zoo import create_model, describe
from cnn_zoo.errors import UserError
from cnn_zoo.models import abstract_model
from tests.helpers.members import Member, ranks
from tests.helpers.model_checks import evaluated, images, traced_shape

MEMBERS = {
  "lenet5": Member(ranks(32)),
  "lenet_maxpool": Member(ranks(16), reached=("classifier",)),
}
FEATURES = {
  "LeNet5": "s2 2, s4 4, c5 4",
  "LeNetMaxPool": "conv1 2, conv2 4",
}

SIZES = {"lenet5": 32, "lenet_maxpool": 28}


def rows(name):
  """(layer, output, parameters) of the published network."""
  size = SIZES[name]
  table = describe(abstract_model(name, num_classes=10, in_channels=1), (size, size, 1))
  return [(row.path, row.output_shape, row.parameters) for row in table.rows]


def test_figure_2():
  assert rows("lenet5") == [
    ("c1", (28, 28, 6), 156),
    ("c3", (10, 10, 16), 2416),  # fully connected; the paper's table of connections leaves 1516
    ("c5", (1, 1, 120), 48_120),
    ("f6", (84,), 10_164),
    ("output", (10,), 850),
  ]
  assert sum(row[-1] for row in rows("lenet5")) == 61_706


def test_the_tutorials_layers():
  assert rows("lenet_maxpool") == [
    ("conv1", (24, 24, 20), 520),
    ("conv2", (8, 8, 50), 25_050),
    ("hidden", (500,), 400_500),
    ("classifier", (10,), 5010),
  ]
  assert sum(row[-1] for row in rows("lenet_maxpool")) == 431_080


def test_the_tutorials_network_in_numpy():
  """Convolution, max-pooling, bias and tanh, twice; then channels first into the hidden layer."""
  model = create_model("lenet_maxpool", num_classes=10, in_channels=1, rngs=nnx.Rngs(0))
  model.classifier.kernel.set_value(jax.random.normal(jax.random.key(3), (500, 10)))
  x = np.asarray(images(28, 28, batch=2, channels=1), np.float64)
  y = x
  for conv in (model.conv1, model.conv2):
    conv.bias.set_value(jax.random.normal(jax.random.key(4), conv.bias.shape))
    patches = np.lib.stride_tricks.sliding_window_view(y, (5, 5), (1, 2))
    y = np.einsum("nhwcij,ijco->nhwo", patches, np.asarray(conv.kernel[...], np.float64))
    n, h, w, c = y.shape
    y = np.tanh(y.reshape(n, h // 2, 2, w // 2, 2, c).max((2, 4)) + np.asarray(conv.bias[...]))
  y = y.transpose(0, 3, 1, 2).reshape(2, 800)
  y = np.tanh(y @ np.asarray(model.hidden.kernel[...]) + np.asarray(model.hidden.bias[...]))
  np.testing.assert_allclose(evaluated(model, x), y @ np.asarray(model.classifier.kernel[...]), rtol=1e-4, atol=1e-4)


def test_initial_values_of_the_tutorial():
  model = create_model("lenet_maxpool", num_classes=10, in_channels=1, rngs=nnx.Rngs(0))
  for layer, inputs, outputs in ((model.conv1, 25, 125), (model.conv2, 500, 312.5), (model.hidden, 800, 500)):
    limit = np.sqrt(6 / (inputs + outputs))
    assert 0.97 * limit < np.abs(layer.kernel[...]).max() <= limit
    assert not np.any(layer.bias[...])
  assert not np.any(model.classifier.kernel[...])


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_logits(dtype):
  model = create_model("lenet5", num_classes=5, in_channels=2, dtype=dtype, rngs=nnx.Rngs(0))
  y = evaluated(model, images(32, 32, batch=3, channels=2))
  assert y.shape == (3, 5) and y.dtype == jnp.float32 and np.isfinite(y).all()
  assert np.ptp(y, 0).min() > 0


@pytest.mark.parametrize(
  ("name", "sizes"),
  [
    ("lenet5", (40,)),
    ("lenet5", (47, 32)),
    ("lenet5", (32, 32, 32)),
    ("lenet_maxpool", (28,)),
    ("lenet_maxpool", (16, 45)),
    ("lenet_maxpool", (20, 28, 30)),
  ],
)
def test_other_sizes_and_ranks(name, sizes):
  assert traced_shape(name, 2, *sizes, 2, rank=len(sizes), num_classes=7) == (2, 7)


def test_a_larger_input_is_a_mean_over_places():
  model = create_model("lenet5", num_classes=5, rngs=nnx.Rngs(0))
  x = jnp.tile(images(4, 4, batch=2), (1, 9, 9, 1))  # C5 sees the same at every fourth pixel
  np.testing.assert_allclose(evaluated(model, x), evaluated(model, x[:, :32, :32]), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("name", "size"), [("lenet5", 31), ("lenet_maxpool", 15)])
def test_too_small(name, size):
  with pytest.raises(UserError, match="is too small for"):
    traced_shape(name, 1, size, size, 3)

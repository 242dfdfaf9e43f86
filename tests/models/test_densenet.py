import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from cnn_zoo.convolutions import Convolution
from cnn_zoo.errors import UserError
from cnn_zoo.layers import BatchNorm, Linear
from cnn_zoo.models import abstract_model
from cnn_zoo.models.densenet import DenseBlock, DenseNet
from tests.helpers import golden
from tests.helpers.members import Member, ranks

MEMBERS = {
  "densenet121": Member(ranks(64, 64, 32), {"growth_rate": 4}, {"densenet121": {"layers": (1, 2, 2, 1)}}),
}
FEATURES = {
  "DenseNet": "stem 2, block1 4, block2 8, block3 16, block4 32",
}


def images(*sizes, batch=3, channels=3):
  return jax.random.normal(jax.random.key(1), (batch, *sizes, channels))


def tiny(**options):
  defaults = {"num_classes": 5, "in_channels": 3, "growth_rate": 4, "layers": (2, 1, 1, 1), "dtype": jnp.float32}
  return DenseNet(**defaults | options, rngs=nnx.Rngs(0))


def traced(model, *shape, method="__call__"):
  """Shape and dtype of what `model` answers to an x of `shape`."""
  graph, state = nnx.split(model)
  x = jax.ShapeDtypeStruct(shape, jnp.float32)
  return jax.eval_shape(lambda state, x: getattr(nnx.merge(graph, state), method)(x), state, x)


# Table 1: layers of the blocks; channels of the stem and after each block.
TABLE_1 = {
  121: ((6, 12, 24, 16), (64, 256, 512, 1024, 1024)),
  169: ((6, 12, 32, 32), (64, 256, 512, 1280, 1664)),
  201: ((6, 12, 48, 32), (64, 256, 512, 1792, 1920)),
  161: ((6, 12, 36, 24), (96, 384, 768, 2112, 2208)),
}


@pytest.mark.parametrize("depth", TABLE_1)
def test_table_1(depth):
  model = abstract_model(f"densenet{depth}")
  layers, channels = TABLE_1[depth]
  assert tuple(len(block.layers) for block in model.blocks) == layers
  assert model.channels == channels
  weights = [layer for _, layer in nnx.iter_modules(model) if isinstance(layer, Convolution | Linear)]
  assert len(weights) == depth
  growth = channels[0] // 2
  for block, first in zip(model.blocks, (channels[0], *(c // 2 for c in channels[1:-1])), strict=True):
    for index, layer in enumerate(block.layers):
      assert (layer.conv1.kernel_size, layer.conv2.kernel_size) == ((1, 1), (3, 3))
      assert layer.conv1.in_features == first + index * growth
      assert (layer.conv2.in_features, layer.conv2.out_features) == (4 * growth, growth)


def test_growth_rate():
  model = abstract_model("densenet121", growth_rate=12)
  assert model.channels == (24, 96, 192, 384, 384)
  with pytest.raises(UserError, match="growth_rate=0 must be at least 1"):
    abstract_model("densenet121", growth_rate=0)


def test_each_layer_sees_all_before_it():
  block = DenseBlock(6, 4, 2, rank=2, remat=False, rngs=nnx.Rngs(0))
  block.eval()
  x = images(5, 5, channels=6)
  y = block(x)
  assert y.shape[-1] == block.out_channels == 14
  np.testing.assert_array_equal(y[..., :6], x)
  for index, layer in enumerate(block.layers):
    end = 6 + 4 * index
    hidden = jax.nn.relu(layer.norm2(layer.conv1(jax.nn.relu(layer.norm1(y[..., :end])))))
    np.testing.assert_allclose(y[..., end : end + 4], layer.conv2(hidden), atol=1e-5)


def test_transitions_halve_channels_and_sizes():
  model = tiny()
  transition = model.transitions[0]
  transition.eval()
  x = images(6, 8, channels=transition.norm.features)
  y = jax.nn.relu(transition.norm(x)).reshape(3, 3, 2, 4, 2, -1).mean((2, 4))
  np.testing.assert_allclose(transition(x), transition.conv(y), atol=1e-5)  # averages before or after: it is linear
  assert transition(x).shape == (3, 3, 4, x.shape[-1] // 2)


def test_initial_values():
  model = tiny(growth_rate=32, num_classes=100)
  for _, layer in nnx.iter_modules(model):
    if isinstance(layer, Convolution):
      fan_in = layer.in_features * np.prod(layer.kernel_size)
      assert np.var(layer.kernel[...]) == pytest.approx(2 / fan_in, rel=0.1) and layer.bias is None
    elif isinstance(layer, BatchNorm):
      assert (layer.scale[...] == 1).all() and (layer.bias[...] == 0).all() and layer.epsilon == 1e-5
  bound = 1 / np.sqrt(model.channels[-1])
  assert 0.99 * bound < np.abs(model.classifier.kernel[...]).max() <= bound
  assert (model.classifier.bias[...] == 0).all()


@pytest.mark.parametrize("sizes", [(96,), (45, 70), (32, 32, 32)], ids=str)
def test_any_rank_and_size(sizes):
  model = nnx.eval_shape(lambda: tiny(rank=len(sizes), in_channels=2))
  logits = traced(model, 2, *sizes, 2)
  assert logits.shape == (2, 5) and logits.dtype == jnp.float32


def test_an_image_without_pixels_left():
  model = nnx.eval_shape(tiny)
  assert traced(model, 2, 32, 29, 3).shape == (2, 5)
  with pytest.raises(UserError, match="is too small"):
    traced(model, 2, 32, 12, 3)


def test_bfloat16_computes_in_bfloat16_and_answers_in_float32():
  model = nnx.eval_shape(lambda: tiny(dtype=jnp.bfloat16))
  assert {x.dtype for x in traced(model, 2, 32, 32, 3, method="features").values()} == {jnp.dtype(jnp.bfloat16)}
  assert traced(model, 2, 32, 32, 3).dtype == jnp.float32


def residuals(layers, remat):
  """Bytes that a dense block keeps for its backward pass."""
  block = nnx.eval_shape(lambda: DenseBlock(16, 8, layers, rank=2, remat=remat, rngs=nnx.Rngs(0)))
  graph, params, rest = nnx.split(block, nnx.Param, ...)

  def backward(params, rest, x):
    return jax.vjp(lambda params, x: nnx.merge(graph, params, rest, copy=True)(x), params, x)[1]

  kept = jax.eval_shape(backward, params, rest, jax.ShapeDtypeStruct((2, 32, 32, 16), jnp.float32))
  return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(kept))


def test_memory_is_linear_in_the_layers_with_rematerialisation():
  assert residuals(24, remat=True) < 2.2 * residuals(12, remat=True)
  assert residuals(24, remat=False) > 2.8 * residuals(12, remat=False)
  assert residuals(12, remat=True) < 0.05 * residuals(12, remat=False)


class _WithoutSecondActivation(nnx.Module):
  def __init__(self, layer):
    self.layer = layer

  def __call__(self, x):
    x = self.layer.conv1(jax.nn.relu(self.layer.norm1(x)))
    return self.layer.conv2(self.layer.norm2(x))


def _larger_epsilon(model):
  model.transitions[0].norm.epsilon = 1e-3


def _shifted(model):
  model.blocks[1].layers[2].conv2.padding = ((2, 0), (1, 1))


def _padded_stem(model):
  model.stem.conv.padding = ((2, 4), (2, 4))


def _no_activation(model):
  model.blocks[2].layers[0] = _WithoutSecondActivation(model.blocks[2].layers[0])


@pytest.mark.parametrize(
  "alter", [_larger_epsilon, _shifted, _padded_stem, _no_activation], ids=lambda alter: alter.__name__
)
def test_one_altered_layer_is_seen(alter):
  assert golden.error("densenet121", alter) > 2e-4

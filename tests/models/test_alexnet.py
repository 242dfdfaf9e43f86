import jax
import numpy as np
import pytest
from flax import nnx

from cnn_zoo import create_model, describe
from cnn_zoo.errors import UserError
from cnn_zoo.layers import local_response_normalization
from cnn_zoo.models import abstract_model
from tests.helpers import golden
from tests.helpers.members import FULLY_CONNECTED, Member, ranks
from tests.helpers.model_checks import evaluated, images, traced_shape

MEMBERS = {
  "alexnet": Member(ranks(63), FULLY_CONNECTED, quick=False),
  "alexnet_two_towers": Member(ranks(67), FULLY_CONNECTED, quick=False),
}
FEATURES = {
  "AlexNet": "conv1 8, conv2 16, conv3 16, conv4 16, conv5 32",
}

NAMES = ("alexnet", "alexnet_two_towers")
TINY = {"num_classes": 5, "hidden_features": 16}


def test_figure_2():
  table = describe(abstract_model("alexnet_two_towers"), (227, 227, 3))
  assert table.parameters == 60_965_224
  assert [row.output_shape for row in table.rows] == [
    *((55, 55, 96), (27, 27, 256), (13, 13, 384), (13, 13, 384), (13, 13, 256)),
    *((4096,), (4096,), (1000,)),
  ]
  # Section 3.5: kernels of 11 x 11 x 3, 5 x 5 x 48, 3 x 3 x 256, 3 x 3 x 192 and 3 x 3 x 192.
  kernels = [(11, 3, 96), (5, 48, 256), (3, 256, 384), (3, 192, 384), (3, 192, 256)]
  assert [row.parameters for row in table.rows[:5]] == [k * k * inputs * out + out for k, inputs, out in kernels]
  assert table.multiply_adds == 724_406_816


def test_towers_meet_in_the_third_layer_alone():
  model = abstract_model("alexnet_two_towers")
  assert [convolution.groups for convolution in model.convolutions] == [1, 2, 1, 2, 2]


def test_one_tower():
  model = abstract_model("alexnet")
  assert [c.out_features for c in model.convolutions] == [64, 192, 384, 256, 256]
  assert [c.groups for c in model.convolutions] == [1] * 5
  assert [c.strides[0] for c in model.convolutions] == [4, 1, 1, 1, 1]


def test_normalization_stands_between_relu_and_pooling():
  """Section 3.5; the paper's constants. The first two layers by hand."""
  model = create_model("alexnet_two_towers", rngs=nnx.Rngs(0), **TINY)
  x, seen = 30 * images(67, 67, batch=2), []
  second = model.convolutions[1]

  class Seen(type(second)):
    def __call__(self, x):
      seen.append(x)
      return super().__call__(x)

  object.__setattr__(second, "__class__", Seen)
  model.eval()
  model(x)
  y = np.asarray(local_response_normalization(jax.nn.relu(model.convolutions[0](x))))
  windows = np.lib.stride_tricks.sliding_window_view(y, (3, 3), (1, 2))[:, ::2, ::2]
  np.testing.assert_allclose(seen[0], windows.max((-2, -1)), rtol=1e-5)


def test_initial_values_of_2012():
  """Section 5: weights of deviation 0.01; biases of 1 in layers 2, 4, 5 and the hidden ones, of 0 in the others."""
  model = create_model("alexnet_two_towers", hidden_features=64, rngs=nnx.Rngs(0))
  layers = [*model.convolutions, *model.head.hidden, model.head.classifier]
  for layer, bias in zip(layers, (0, 1, 0, 1, 1, 1, 1, 0), strict=True):
    assert np.std(layer.kernel[...]) == pytest.approx(0.01, rel=0.03)
    np.testing.assert_array_equal(layer.bias[...], np.full(layer.bias.shape, bias))


def test_initial_values_of_torchvision():
  model = create_model("alexnet", hidden_features=64, rngs=nnx.Rngs(0))
  layers = [*model.convolutions, *model.head.hidden, model.head.classifier]
  for layer, fan_in in zip(layers, (363, 1600, 1728, 3456, 2304, 9216, 64, 64), strict=True):
    for values in (layer.kernel[...], layer.bias[...]):
      assert 0.8 * fan_in**-0.5 < np.abs(values).max() <= fan_in**-0.5


@pytest.mark.parametrize("name", NAMES)
def test_dropout(name):
  """Half of two layers in training: the two hidden ones' inputs in torchvision's network, their outputs in 2012's."""
  model = create_model(name, dropout_rate=0.5, rngs=nnx.Rngs(0), **TINY)
  dropped = []
  for dropout in model.head.dropouts:
    assert dropout.rate == 0.5
    kind = type("Counted", (type(dropout),), {"__call__": lambda self, x: dropped.append(x.shape[-1]) or x})
    object.__setattr__(dropout, "__class__", kind)
  model(images(70, 70, batch=2))
  assert dropped == ([9216, 16] if name == "alexnet" else [16, 16])


@pytest.mark.parametrize("name", NAMES)
def test_another_size_and_one_channel(name):
  model = create_model(name, in_channels=1, rngs=nnx.Rngs(0), **TINY)
  logits = evaluated(model, images(67, 90, batch=3, channels=1))
  assert logits.shape == (3, 5) and np.isfinite(logits).all() and np.ptp(logits, 0).min() > 0


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("sizes", [(227,), (67, 67, 70)])
def test_other_ranks(name, sizes):
  assert traced_shape(name, 2, *sizes, 2, rank=len(sizes), **TINY) == (2, 5)


@pytest.mark.parametrize(("name", "size"), [("alexnet", 62), ("alexnet_two_towers", 66)])
def test_the_smallest_input(name, size):
  with pytest.raises(UserError, match="is too small for"):
    traced_shape(name, 1, size, size, 3, **TINY)
  assert traced_shape(name, 1, size + 1, size + 1, 3, **TINY) == (1, 5)


def _shifted(model):
  model.convolutions[1].padding = ((3, 1), (2, 2))


def _not_overlapping(model):
  model.layers = (*model.layers[:4], model.layers[4]._replace(pooled=False))


def _normalized(model):
  model.layers = (model.layers[0]._replace(normalized=True), *model.layers[1:])


def _two_towers(model):
  convolution = model.convolutions[3]
  kernel = convolution.kernel[...]
  convolution.kernel.set_value(kernel.at[:, :, :192, 128:].set(0).at[:, :, 192:, :128].set(0))


@pytest.mark.parametrize("alter", [_shifted, _not_overlapping, _normalized, _two_towers], ids=lambda a: a.__name__)
def test_golden_logits_notice(alter):
  assert golden.error("alexnet", alter) > 1e-3

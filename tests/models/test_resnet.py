import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from cnn_zoo import describe
from cnn_zoo.convolutions import Convolution
from cnn_zoo.errors import UserError
from cnn_zoo.layers import BatchNorm, Linear
from cnn_zoo.models import abstract_model, model_options
from cnn_zoo.models.network import last
from cnn_zoo.models.resnet import LAYERS, BasicBlock, Bottleneck, PlainBlock, ResNet, stage_sampling
from cnn_zoo.models.resnetv2 import PreActivationBasicBlock, PreActivationBottleneck, ResNetV2
from tests.helpers import golden
from tests.helpers.members import RESNET, Member, one_block, ranks
from tests.helpers.model_checks import QUICK

MEMBERS = {
  "resnet18": Member(ranks(32, 32, 16), fixed=one_block("resnet18"), tables=RESNET),
  "resnet50": Member(ranks(32, 32, 16), fixed=one_block("resnet50"), tables=RESNET),
  "plain18": Member(ranks(32, 32, 16), fixed=one_block("plain18"), tables=RESNET),
  "resnetv2_18": Member(ranks(32, 32, 16), fixed=one_block("resnetv2_18"), tables=RESNET),
}
FEATURES = {
  "ResNet": "conv1 2, conv2 4, conv3 8, conv4 16, conv5 32",
  "ResNetV2": "conv1 2, conv2 4, conv3 8, conv4 16, conv5 32",
}

NETWORKS = [
  *(("resnet", depth) for depth in LAYERS),
  *(("resnetv2_", depth) for depth in LAYERS),
  ("plain", 18),
  ("plain", 34),
]
BLOCKS = {
  "basic": BasicBlock,
  "plain": PlainBlock,
  "bottleneck": Bottleneck,
  "bottleneck, 1x1": functools.partial(Bottleneck, stride_in="1x1"),
  "pre-activation": PreActivationBasicBlock,
  "pre-activation bottleneck": PreActivationBottleneck,
  "pre-activation bottleneck, 1x1": functools.partial(PreActivationBottleneck, stride_in="1x1"),
}


@functools.cache
def built(name):
  """The abstract model, to look at."""
  return abstract_model(name)


def images(*sizes, batch=2, channels=3):
  return jax.random.normal(jax.random.key(1), (batch, *sizes, channels))


def tiny(block, **options):
  """A network with one block a stage."""
  network = ResNetV2 if block.startswith("pre-activation") else ResNet
  defaults = {"num_classes": 5, "in_channels": 3, "layers": (1, 1, 1, 1), "dtype": jnp.float32, "rngs": nnx.Rngs(0)}
  return network(block=BLOCKS[block], **defaults | options)


def evaluated(model, x, method="__call__"):
  """What `model` answers to x in evaluation."""
  model.eval()
  graph, state = nnx.split(model)
  run = jax.jit(lambda state, x: getattr(nnx.merge(graph, state), method)(x), compiler_options=QUICK)
  return run(state, x)


def traced(model, *shape, method="__call__"):
  """Shape and dtype of that for an x of `shape`."""
  graph, state = nnx.split(model)
  x = jax.ShapeDtypeStruct(shape, jnp.float32)
  return jax.eval_shape(lambda state, x: getattr(nnx.merge(graph, state), method)(x), state, x)


@pytest.mark.parametrize(("family", "depth"), NETWORKS)
def test_table_1(family, depth):
  model = built(f"{family}{depth}")
  assert (model.stem.conv.kernel_size, model.stem.conv.strides, model.stem.conv.out_features) == ((7, 7), (2, 2), 64)
  assert tuple(map(len, model.stages)) == LAYERS[depth]
  assert model.channels == (64, *((1 if depth < 50 else 4) * channels for channels in (64, 128, 256, 512)))
  for stage, channels, stride in zip(model.stages, (64, 128, 256, 512), (1, 2, 2, 2), strict=True):
    for index, block in enumerate(stage):
      conv1, conv2 = (getattr(layer, "conv", layer) for layer in (block.conv1, block.conv2))
      assert (conv2.kernel_size, conv2.out_features) == ((3, 3), channels)
      assert block.out_channels == (channels if depth < 50 else 4 * channels)
      has_stride, has_none = (conv1, conv2)[:: 1 if depth < 50 else -1]
      assert has_stride.strides == (stride if index == 0 else 1,) * 2 and has_none.strides == (1, 1)


@pytest.mark.parametrize(("family", "depth"), NETWORKS)
def test_depth_is_the_number_of_layers_with_weights(family, depth):
  model = built(f"{family}{depth}")
  weights = [
    m for path, m in nnx.iter_modules(model) if isinstance(m, Convolution | Linear) and "projection" not in path
  ]
  assert len(weights) == depth


@pytest.mark.parametrize(
  ("name", "billions"),
  [
    ("resnet50", 3.8),
    ("resnet101", 7.6),
    ("resnet152", 11.3),
    ("resnetv2_50", 3.8),
    ("resnet18", 1.8),
    ("plain34", 3.6),
  ],
)
def test_the_papers_stride_and_its_multiply_adds(name, billions):
  options = {"stride_in": "1x1"} if "stride_in" in model_options(name) else {}
  table = describe(abstract_model(name, **options), (224, 224, 3))
  assert table.multiply_adds == pytest.approx(billions * 1e9, abs=0.06e9)
  if options:
    torchvision = describe(built(name), (224, 224, 3))
    # In each of three stages a 1 x 1 convolution at four times as many positions: 56^2 x 256 x 128 and so on.
    assert torchvision.multiply_adds - table.multiply_adds == 3 * 3 * 56**2 * 256 * 128 // 4
    assert torchvision.parameters == table.parameters


@pytest.mark.parametrize("depth", [18, 34])
def test_plain_networks_are_resnets_without_shortcuts(depth):
  rows = {row.path: row for row in describe(abstract_model(f"resnet{depth}"), (224, 224, 3)).rows}
  plain = {row.path: row for row in describe(abstract_model(f"plain{depth}"), (224, 224, 3)).rows}
  assert plain == {path: row for path, row in rows.items() if "projection" not in path}
  block, shortcut = PlainBlock(4, 4, rngs=nnx.Rngs(0)), BasicBlock(4, 4, rngs=nnx.Rngs(0))
  x = images(5, 5, channels=4)
  y = [jax.nn.relu(b.conv2.norm(b.conv2.conv(b.conv1(x))) + s) for b, s in ((block, 0), (shortcut, x))]
  np.testing.assert_allclose([block(x), shortcut(x)], y, atol=1e-6)


def test_order_of_pre_activation():
  relu, x = jax.nn.relu, images(6, 6, channels=8)
  block = PreActivationBottleneck(8, 2, rngs=nnx.Rngs(0))
  y = block.conv3(relu(block.norm3(block.conv2(relu(block.norm2(block.conv1(relu(block.norm1(x)))))))))
  np.testing.assert_allclose(block(x), x + y, atol=1e-6)  # the shortcut is the identity, before any activation
  block = PreActivationBasicBlock(8, 4, 2, rngs=nnx.Rngs(0))
  first = relu(block.norm1(x))
  y = block.conv2(relu(block.norm2(block.conv1(first))))
  np.testing.assert_allclose(block(x), block.projection(first) + y, atol=1e-6)


def test_where_strides_become_dilations():
  assert stage_sampling(32) == [(1, (1, 1)), (2, (1, 1)), (2, (1, 1)), (2, (1, 1))]
  assert stage_sampling(16) == [(1, (1, 1)), (2, (1, 1)), (2, (1, 1)), (1, (1, 2))]
  assert stage_sampling(8) == [(1, (1, 1)), (2, (1, 1)), (1, (1, 2)), (1, (2, 4))]
  model = abstract_model(
    "resnet50", output_stride=8
  )  # torchvision's replace_stride_with_dilation = [False, True, True]
  assert [block.conv2.conv.dilation[0] for block in model.stages[2]] == [1, 2, 2, 2, 2, 2]
  assert [block.conv2.conv.dilation[0] for block in model.stages[3]] == [2, 4, 4]


@pytest.mark.parametrize(
  "block", ["basic", "bottleneck", "bottleneck, 1x1", "pre-activation", "pre-activation bottleneck"]
)
def test_dilation_computes_the_values_of_the_stride_and_those_between(block):
  x, layers = images(65, 47, batch=1), (1, 1, 2, 2)
  expected = last(evaluated(tiny(block, layers=layers), x, "features"))
  assert expected.shape[1:3] == (3, 2) and np.std(expected) > 0
  dense = last(evaluated(tiny(block, layers=layers, output_stride=8), x, "features"))
  assert dense.shape[1:3] == (9, 6)
  np.testing.assert_allclose(dense[:, ::4, ::4], expected, atol=1e-5 * np.std(expected))


@pytest.mark.parametrize("block", ["basic", "bottleneck", "pre-activation bottleneck"])
def test_initial_values(block):
  model = tiny(block, num_classes=200)
  for _, layer in nnx.iter_modules(model):
    if isinstance(layer, Convolution):
      fan_out = layer.out_features * np.prod(layer.kernel_size)
      assert np.var(layer.kernel[...]) == pytest.approx(2 / fan_out, rel=0.05) and layer.bias is None
    elif isinstance(layer, BatchNorm):
      assert (layer.scale[...] == 1).all() and (layer.bias[...] == 0).all() and layer.epsilon == 1e-5
  bound = 1 / np.sqrt(model.channels[-1])
  assert 0.99 * bound < np.abs(model.classifier.kernel[...]).max() <= bound
  assert 0.9 * bound < np.abs(model.classifier.bias[...]).max() <= bound


@pytest.mark.parametrize("block", ["basic", "bottleneck"])
def test_zero_init_residual_starts_from_the_shortcuts(block):
  model = tiny(block, layers=(2, 1, 1, 1), zero_init_residual=True)
  units = [block.conv3 if hasattr(block, "conv3") else block.conv2 for stage in model.stages for block in stage]
  assert all((unit.norm.scale[...] == 0).all() for unit in units)
  for residual in model.stages[0]:
    shortcut = residual.projection or (lambda x: x)
    x = images(4, 4, channels=residual.conv1.conv.in_features)
    np.testing.assert_array_equal(residual(x), jax.nn.relu(shortcut(x)))


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("sizes", [(96,), (31, 45), (1, 1), (9, 32, 32)], ids=str)
def test_any_rank_and_size(block, sizes):
  model = nnx.eval_shape(lambda: tiny(block, rank=len(sizes), in_channels=2))
  logits = traced(model, 2, *sizes, 2)
  assert logits.shape == (2, 5) and logits.dtype == jnp.float32


@pytest.mark.parametrize("block", ["basic", "pre-activation"])
def test_bfloat16_computes_in_bfloat16_and_answers_in_float32(block):
  model = nnx.eval_shape(lambda: tiny(block, dtype=jnp.bfloat16))
  assert {x.dtype for x in traced(model, 2, 32, 32, 3, method="features").values()} == {jnp.dtype(jnp.bfloat16)}
  assert traced(model, 2, 32, 32, 3).dtype == jnp.float32


@pytest.mark.parametrize(
  ("name", "options", "message"),
  [
    ("resnet50", {"stride_in": "2x2"}, "stride_in='2x2' is not known; valid: 1x1, 3x3"),
    ("resnetv2_50", {"stride_in": "2x2"}, "stride_in='2x2' is not known; valid: 1x1, 3x3"),
    ("resnet18", {"output_stride": 4}, "output_stride=4 must be 8, 16 or 32"),
    ("resnet18", {"stride_in": "1x1"}, "model resnet18 has no option 'stride_in'"),
    ("plain18", {"zero_init_residual": True}, "model plain18 has no option 'zero_init_residual'"),
  ],
)
def test_mistakes(name, options, message):
  with pytest.raises(UserError, match=message):
    abstract_model(name, **options)


class _WithoutLastActivation(nnx.Module):
  def __init__(self, block):
    self.block = block

  def __call__(self, x):
    return x + self.block.conv2(self.block.conv1(x))


def _stride_in_the_second(model):
  block = model.stages[1][0]
  block.conv1.conv.strides, block.conv2.conv.strides = (1, 1), (2, 2)


def _shifted(model):
  model.stages[2][1].conv1.conv.padding = ((2, 0), (1, 1))


def _larger_epsilon(model):
  model.stages[0][0].conv2.norm.epsilon = 1e-3


def _no_last_activation(model):
  model.stages[1][1] = _WithoutLastActivation(model.stages[1][1])


ALTERATIONS = [_stride_in_the_second, _shifted, _larger_epsilon, _no_last_activation]


@pytest.mark.parametrize("alter", ALTERATIONS, ids=lambda alter: alter.__name__)
def test_one_altered_block_is_seen(alter):
  assert golden.error("resnet18", alter) > 2e-4


def test_the_papers_stride_is_another_network():
  assert golden.error("resnet50", stride_in="1x1") > 0.01

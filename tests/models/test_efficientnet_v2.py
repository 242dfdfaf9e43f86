import jax
import numpy as np
import pytest
from flax import nnx

from cnn_zoo import create_model
from cnn_zoo.errors import UserError
from cnn_zoo.layers import BatchNorm
from cnn_zoo.models import abstract_model
from cnn_zoo.models.efficientnet import MBConv
from cnn_zoo.models.efficientnet_v2 import STAGES, FusedMBConv
from tests.helpers import golden
from tests.helpers.members import MULTIPLIED, Member, ranks
from tests.helpers.model_checks import traced_shape

MEMBERS = {
  "efficientnet_v2_s": Member(ranks(32, 32, 16), MULTIPLIED),
}
FEATURES = {
  "EfficientNetV2": "stem 2, stage1 2, stage2 4, stage3 8, stage4 16, stage5 16, stage6 32, stage7 32",
}

TINY = {"width": 0.25, "depth": 0.1}  # one block a stage, two where S has 15


def outline(model):
  """(class, expansion, stride, channels, how many blocks) of each run of blocks with the same of the first and last."""
  rows = []
  for block in model.blocks:
    fused = isinstance(block, FusedMBConv)
    convolution = (block.expand if fused else block.depthwise).conv
    last = convolution if fused and block.project is None else block.project.conv
    expansion = 1 if last is convolution else last.in_features // (block.expand or block.depthwise).conv.in_features
    if rows and rows[-1][3] == last.out_features:
      rows[-1][4] += 1
    else:
      rows.append([type(block), expansion, convolution.strides[0], last.out_features, 1])
    assert convolution.kernel_size == (3, 3)
  return [tuple(row) for row in rows]


def test_s_is_table_4():
  model = abstract_model("efficientnet_v2_s")
  assert outline(model) == [
    (FusedMBConv, 1, 1, 24, 2),
    (FusedMBConv, 4, 2, 48, 4),
    (FusedMBConv, 4, 2, 64, 4),
    (MBConv, 4, 2, 128, 6),
    (MBConv, 6, 1, 160, 9),
    (MBConv, 6, 2, 256, 15),
  ]
  assert (model.stem.conv.out_features, model.head.conv.out_features) == (24, 1280)
  assert model.blocks[10].excite.reduce.out_features == 64 // 4  # a quarter of the block's input


@pytest.mark.parametrize(("name", "total", "padding"), [("m", 57, (1, 1)), ("l", 79, (1, 1)), ("xl", 100, "SAME")])
def test_larger_sizes(name, total, padding):
  model = abstract_model(f"efficientnet_v2_{name}")
  assert [(row[1], row[2], row[3], row[4]) for row in outline(model)] == [
    (stage.expansion, stage.stride, stage.channels, stage.layers) for stage in STAGES[f"efficientnet_v2_{name}"]
  ]
  assert len(model.blocks) == total
  assert [row[0] for row in outline(model)] == [FusedMBConv] * 3 + [MBConv] * 4
  assert {m.epsilon for _, m in nnx.iter_modules(model) if isinstance(m, BatchNorm)} == {1e-3}
  wide = [block.expand if isinstance(block, FusedMBConv) else block.depthwise for block in model.blocks]
  assert {unit.conv.padding for unit in (model.stem, *wide)} == {padding}  # TensorFlow's, for which XL's weights are


def test_stochastic_depth_grows_linearly():
  model = abstract_model("efficientnet_v2_s", stochastic_depth_rate=0.4)
  for index, block in enumerate(model.blocks):
    assert block.stochastic_depth.rate == pytest.approx(0.4 * index / 40 if block.residual else 0)


def test_initial_values():
  model = create_model("efficientnet_v2_s", depth=0.1, width=0.5, rngs=nnx.Rngs(0))
  block = model.blocks[2]
  assert np.std(block.expand.conv.kernel[...]) == pytest.approx(
    np.sqrt(2 / (9 * block.expand.conv.out_features)), rel=0.02
  )
  assert np.std(block.project.conv.kernel[...]) == pytest.approx(np.sqrt(2 / block.project.conv.out_features), rel=0.05)
  assert np.abs(model.classifier.kernel[...]).max() <= 1000**-0.5


@pytest.mark.parametrize("name", ["efficientnet_v2_s", "efficientnet_v2_xl"])
@pytest.mark.parametrize("shape", [(4, 100, 2), (2, 33, 47, 1), (2, 9, 20, 31, 3)], ids=str)
def test_other_ranks_sizes_and_channels(name, shape):
  rank = len(shape) - 2
  assert traced_shape(name, *shape, rank=rank, num_classes=7) == (shape[0], 7)


def test_mistakes():
  with pytest.raises(UserError, match="width=0 must be above 0"):
    abstract_model("efficientnet_v2_s", width=0)


def stride(model):
  model.blocks[25].depthwise.conv.strides = (1, 1)


def padding(model):
  model.blocks[25].depthwise.conv.padding = "SAME"


def fused_padding(model):
  model.blocks[6].expand.conv.padding = "SAME"


def epsilon(model):
  for _, module in nnx.iter_modules(model):
    if isinstance(module, BatchNorm):
      module.epsilon = 1e-5


def activation(model):
  model.blocks[25].excite.activation = jax.nn.relu


@pytest.mark.parametrize("alter", [stride, padding, fused_padding, epsilon, activation])
def test_golden_logits_notice(alter):
  assert golden.error("efficientnet_v2_s", alter) > 1e-4

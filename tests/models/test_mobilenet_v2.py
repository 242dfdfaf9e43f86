import jax
import numpy as np
import pytest
from flax import nnx

from cnn_zoo import create_model, describe
from cnn_zoo.errors import UserError
from cnn_zoo.layers import BatchNorm
from cnn_zoo.models import abstract_model
from tests.helpers import golden
from tests.helpers.members import Member, ranks
from tests.helpers.model_checks import traced_shape

MEMBERS = {
  "mobilenet_v2": Member(
    ranks(32, 32, 16), tables={"mobilenet_v2.BOTTLENECKS": ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 2, 2))}
  ),
}
FEATURES = {
  "MobileNetV2": "stem 2, stage1 2, stage2 4, stage3 8, stage4 16, stage5 16, stage6 32, stage7 32",
}


def test_table_2():
  model = abstract_model("mobilenet_v2")
  rows = {row.path: row for row in describe(model, (224, 224, 3)).rows}
  blocks = []
  for index, block in enumerate(model.blocks):
    *_, depthwise, project = block.convolutions
    expansion = depthwise.in_features // (block.convolutions[0].in_features)
    size = rows[f"blocks.{index}.convolutions.{len(block.convolutions) - 1}"].output_shape[0]
    blocks.append((expansion, project.out_features, depthwise.strides[0], size))
    assert depthwise.kernel_size == (3, 3) and depthwise.groups == depthwise.in_features
    assert block.activations == (*[jax.nn.relu6] * (len(block.convolutions) - 1), None)  # a linear bottleneck
  assert blocks == [
    (1, 16, 1, 112),
    *[(6, 24, 2, 56), (6, 24, 1, 56)],
    *[(6, 32, 2, 28), *[(6, 32, 1, 28)] * 2],
    *[(6, 64, 2, 14), *[(6, 64, 1, 14)] * 3],
    *[(6, 96, 1, 14)] * 3,
    *[(6, 160, 2, 7), *[(6, 160, 1, 7)] * 2],
    (6, 320, 1, 7),
  ]
  assert rows["stem.conv"].output_shape == (112, 112, 32) and rows["head.conv"].output_shape == (7, 7, 1280)
  assert len(model.blocks[0].convolutions) == 2


@pytest.mark.parametrize(
  ("width", "stem", "last", "head"), [(1.0, 32, 320, 1280), (0.5, 16, 160, 1280), (1.4, 48, 448, 1792)]
)
def test_width(width, stem, last, head):
  model = abstract_model("mobilenet_v2", width=width)
  assert (model.stem.conv.out_features, model.head.conv.in_features, model.head.conv.out_features) == (stem, last, head)


def test_the_papers_largest():
  table = describe(abstract_model("mobilenet_v2", width=1.4), (224, 224, 3))  # Table 4
  assert table.parameters == pytest.approx(6.9e6, rel=0.12) and table.multiply_adds == pytest.approx(585e6, rel=0.01)


def test_initial_values():
  model = create_model("mobilenet_v2", width=0.5, rngs=nnx.Rngs(0))
  expand, depthwise, project = model.blocks[-1].convolutions
  assert np.std(depthwise.kernel[...]) == pytest.approx(np.sqrt(2 / 9), rel=0.05)
  assert np.std(expand.kernel[...]) == pytest.approx(np.sqrt(2 / 480), rel=0.02)
  assert np.std(project.kernel[...]) == pytest.approx(np.sqrt(2 / 160), rel=0.02)
  assert np.std(model.classifier.kernel[...]) == pytest.approx(0.01, rel=0.01)
  assert all(conv.bias is None for conv in (expand, depthwise, project, model.stem.conv, model.head.conv))


@pytest.mark.parametrize("shape", [(4, 100, 2), (2, 33, 47, 1), (2, 9, 20, 31, 3)], ids=str)
def test_other_ranks_sizes_and_channels(shape):
  rank = len(shape) - 2
  assert traced_shape("mobilenet_v2", *shape, rank=rank, num_classes=7) == (shape[0], 7)


def test_mistakes():
  with pytest.raises(UserError, match=r"width=-1 must be above 0"):
    abstract_model("mobilenet_v2", width=-1)


def stride(model):
  model.blocks[6].convolutions[1].strides = (1, 1)


def padding(model):
  model.blocks[1].convolutions[1].padding = "SAME"


def epsilon(model):
  for _, module in nnx.iter_modules(model):
    if isinstance(module, BatchNorm):
      module.epsilon = 1e-3


def activation(model):
  model.blocks[2].activations = (jax.nn.relu6,) * 3


@pytest.mark.parametrize("alter", [stride, padding, epsilon, activation])
def test_golden_logits_notice(alter):
  assert golden.error("mobilenet_v2", alter) > 1e-4

import jax
import numpy as np
import pytest
from flax import nnx

from cnn_zoo import create_model, describe
from cnn_zoo.convolutions import DepthwiseSeparableConvolution
from cnn_zoo.errors import UserError
from cnn_zoo.layers import BatchNorm
from cnn_zoo.models import abstract_model
from tests.helpers import golden
from tests.helpers.members import Member, ranks
from tests.helpers.model_checks import traced_shape

MEMBERS = {
  "xception": Member(ranks(32, 32, 16), {"middle_blocks": 1}),
}
FEATURES = {
  "Xception": "stem 2, block1 4, block2 8, block3 16, "
  + "".join(f"block{i} 16, " for i in range(4, 12))
  + "block12 32, exit 32",
}


def test_figure_5():
  model = abstract_model("xception")
  rows = {row.path: row for row in describe(model, (299, 299, 3)).rows}
  assert [rows[path].output_shape for path in ("conv1.conv", "conv2.conv")] == [(149, 149, 32), (147, 147, 64)]
  widths = [[s.conv.convolutions[1].out_features for s in block.separables] for block in model.blocks]
  assert widths == [[128, 128], [256, 256], [728, 728], *[[728] * 3] * 8, [728, 1024]]
  sizes = [rows[f"blocks.{index}.separables.1.norm"].output_shape[0] for index in range(12)]
  assert sizes == [147, 74, 37, *[19] * 9]  # the last block's own stride comes after it
  assert [block.shortcut is None for block in model.blocks] == [False] * 3 + [True] * 8 + [False]
  assert rows["separable1.norm"].output_shape == (10, 10, 1536)
  assert rows["separable2.norm"].output_shape == (10, 10, 2048)
  separable = [m for _, m in nnx.iter_modules(model) if isinstance(m, DepthwiseSeparableConvolution)]
  assert len(separable) == 34  # with the two of the stem, the 36 convolutions of section 3
  assert all(s.activations == (None, None) and list(s.norms) == [None, None] for s in separable)  # section 4.7


def test_initial_values():
  model = create_model("xception", middle_blocks=0, rngs=nnx.Rngs(0))
  depthwise, pointwise = model.separable2.conv.convolutions
  assert np.std(depthwise.kernel[...]) == pytest.approx(np.sqrt(2 / 9), rel=0.05)
  assert np.std(pointwise.kernel[...]) == pytest.approx(np.sqrt(2 / 2048), rel=0.01)
  assert np.abs(model.classifier.kernel[...]).max() <= 2048**-0.5


@pytest.mark.parametrize("shape", [(4, 100, 2), (2, 43, 57, 1), (2, 15, 20, 31, 3)], ids=str)
def test_other_ranks_sizes_and_channels(shape):
  rank = len(shape) - 2
  assert traced_shape("xception", *shape, rank=rank, num_classes=7) == (shape[0], 7)


def test_mistakes():
  with pytest.raises(UserError, match="middle_blocks=-1 must not be below 0"):
    abstract_model("xception", middle_blocks=-1)
  with pytest.raises(UserError, match="too small"):
    traced_shape("xception", 2, 4, 4, 3)


def stride(model):
  model.blocks[11].stride, model.blocks[11].shortcut.conv.strides = 1, (1, 1)


def padding(model):
  model.blocks[5].separables[1].conv.convolutions[0].padding = ((0, 2), (1, 1))


def epsilon(model):
  for _, module in nnx.iter_modules(model):
    if isinstance(module, BatchNorm):
      module.epsilon = 1e-3


def activation(model):
  model.blocks[5].separables[1].conv.activations = (jax.nn.relu, None)


@pytest.mark.parametrize("alter", [stride, padding, epsilon, activation])
def test_golden_logits_notice(alter):
  assert golden.error("timm/xception", alter) > 1e-4

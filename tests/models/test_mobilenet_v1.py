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
  "mobilenet_v1": Member(
    ranks(32, 32, 16),
    tables={"mobilenet_v1.LAYERS": ((16, 1), (24, 2), (24, 1), (32, 2)), "mobilenet_v1.STAGES": (1, 2, 1)},
  ),
}
FEATURES = {
  "MobileNetV1": "stem 2, stage1 2, stage2 4, stage3 8, stage4 16, stage5 32",
}


def test_table_1():
  table = describe(abstract_model("mobilenet_v1"), (224, 224, 3))
  depthwise = [row for row in table.rows if row.path.endswith("conv.convolutions.0")]
  pointwise = [row for row in table.rows if row.path.endswith("conv.convolutions.1")]
  assert [row.strides[0] for row in depthwise] == [1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1]
  assert {row.kernel_size for row in depthwise} == {(3, 3)} and {row.kernel_size for row in pointwise} == {(1, 1)}
  sizes = [112, 56, 56, 28, 28, *[14] * 6, 7, 7]
  channels = [64, 128, 128, 256, 256, *[512] * 6, 1024, 1024]
  assert [row.output_shape for row in pointwise] == [(n, n, c) for n, c in zip(sizes, channels, strict=True)]
  assert table.rows[0].output_shape == (112, 112, 32)
  # Table 2: nearly all of the cost is in the 1 x 1 convolutions.
  assert sum(row.multiply_adds for row in pointwise) / table.multiply_adds == pytest.approx(0.9486, abs=2e-4)
  kernels = table.parameters - sum(row.parameters for row in table.rows if row.type == "BatchNorm") - 1000
  assert sum(row.parameters for row in pointwise) / kernels == pytest.approx(0.7459, abs=1e-4)


@pytest.mark.parametrize(  # Tables 6 and 7
  ("width", "resolution", "millions", "parameters"),
  [
    (1.0, 224, 569, 4.2),
    (0.75, 224, 325, 2.6),
    (0.5, 224, 149, 1.3),
    (0.25, 224, 41, 0.5),
    (1.0, 192, 418, 4.2),
    (1.0, 160, 290, 4.2),
    (1.0, 128, 186, 4.2),
  ],
)
def test_the_two_multipliers(width, resolution, millions, parameters):
  table = describe(abstract_model("mobilenet_v1", width=width), (resolution, resolution, 3))
  assert table.multiply_adds == pytest.approx(millions * 1e6, abs=0.7e6)
  assert table.parameters == pytest.approx(parameters * 1e6, abs=0.06e6)


def test_initial_values():
  model = create_model("mobilenet_v1", width=0.5, rngs=nnx.Rngs(0))
  depthwise, pointwise = model.blocks[-1].conv.convolutions
  assert np.std(depthwise.kernel[...]) == pytest.approx(np.sqrt(2 / 9), rel=0.05)
  assert np.std(pointwise.kernel[...]) == pytest.approx(np.sqrt(2 / 512), rel=0.01)
  assert np.abs(model.classifier.kernel[...]).max() <= 1000**-0.5
  assert all(conv.bias is None for conv in (depthwise, pointwise, model.stem.conv))


@pytest.mark.parametrize("shape", [(4, 100, 2), (2, 33, 47, 1), (2, 9, 20, 31, 3)], ids=str)
def test_other_ranks_sizes_and_channels(shape):
  rank = len(shape) - 2
  assert traced_shape("mobilenet_v1", *shape, rank=rank, num_classes=7) == (shape[0], 7)


def test_mistakes():
  with pytest.raises(UserError, match=r"width=0 must be above 0"):
    abstract_model("mobilenet_v1", width=0)


def stride(model):
  model.blocks[11].conv.convolutions[0].strides = (1, 1)


def padding(model):
  model.blocks[11].conv.convolutions[0].padding = "SAME"


def epsilon(model):
  for _, module in nnx.iter_modules(model):
    if isinstance(module, BatchNorm):
      module.epsilon = 1e-3


def activation(model):
  model.blocks[12].conv.activations = (jax.nn.silu, None)


@pytest.mark.parametrize("alter", [stride, padding, epsilon, activation])
def test_golden_logits_notice(alter):
  assert golden.error("timm/mobilenetv1_100", alter) > 1e-4

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from cnn_zoo import describe
from cnn_zoo.errors import UserError
from cnn_zoo.models import abstract_model, deeplab
from cnn_zoo.models.deeplab import DeepLabHead, Pyramid
from cnn_zoo.models.fcn import FCNHead
from tests.helpers import golden
from tests.helpers.members import RESNET, Member, one_block, ranks
from tests.helpers.model_checks import images

MEMBERS = {
  "deeplabv3_resnet50": Member(
    ranks(33),
    fixed=one_block("resnet50"),
    tables=RESNET | {"deeplab.CHANNELS": 8, "deeplab.RATES": {8: (1, 2, 3)}},  # rates whose taps lie inside the map
    quick=False,
  ),
}
FEATURES = {
  "DeepLabV3": "conv1 2, conv2 4, conv3 8, conv4 8, conv5 8",
}

# torchvision's, with the auxiliary head that the published weights have.
WITH_AUXILIARY = {"deeplabv3_resnet50": 42_004_074, "deeplabv3_resnet101": 60_996_202}


@pytest.mark.parametrize("name", WITH_AUXILIARY)
def test_parameters_with_the_auxiliary_head(name):
  model = abstract_model(name, num_classes=21, aux_head=True)
  assert type(model.auxiliary) is FCNHead
  assert describe(model, (224, 224, 3)).parameters == WITH_AUXILIARY[name]


@pytest.mark.parametrize(("output_stride", "size", "rates"), [(8, 28, (12, 24, 36)), (16, 14, (6, 12, 18))])
def test_the_pyramid(output_stride, size, rates):
  """Section 3.3: rates 6, 12 and 18 at an output stride of 16, and twice as many at 8."""
  model = abstract_model("deeplabv3_resnet50", num_classes=21, output_stride=output_stride)
  rows = {row.path: row for row in describe(model, (224, 224, 3)).rows}
  convs = [branch.conv for branch in model.head.pyramid.branches]
  assert [(conv.kernel_size[0], conv.dilation[0]) for conv in convs] == [(1, 1), *((3, rate) for rate in rates)]
  assert {rows[f"head.pyramid.branches.{i}.conv"].output_shape for i in range(4)} == {(size, size, 256)}
  assert rows["head.pyramid.pooled.conv"].output_shape == (1, 1, 256)
  assert rows["head.pyramid.project.conv"].parameters == 5 * 256 * 256
  assert rows["head.classifier"].output_shape == (size, size, 21)
  assert model.head.pyramid.dropout.rate == 0.5


def test_the_pyramid_in_numpy(monkeypatch):
  monkeypatch.setattr(deeplab, "CHANNELS", 3)
  pyramid = Pyramid(2, (2, 3), rank=2, rngs=nnx.Rngs(0))
  pyramid.eval()
  x = np.asarray(images(6, 7, batch=2, channels=2), np.float64)

  def unit(unit, x):
    kernel, step = np.asarray(unit.conv.kernel[...], np.float64), unit.conv.dilation[0]
    edge = step * (kernel.shape[0] // 2)
    padded = np.pad(x, [(0, 0), (edge, edge), (edge, edge), (0, 0)])
    y = sum(
      padded[:, i * step : i * step + x.shape[1], j * step : j * step + x.shape[2]] @ kernel[i, j]
      for i, j in np.ndindex(*kernel.shape[:2])
    )
    return np.maximum(y / np.sqrt(1 + 1e-5), 0)  # statistics as they begin

  pooled = np.broadcast_to(unit(pyramid.pooled, x.mean((1, 2), keepdims=True)), (2, 6, 7, 3))
  branches = [*(unit(branch, x) for branch in pyramid.branches), pooled]
  expected = unit(pyramid.project, np.concatenate(branches, -1))
  np.testing.assert_allclose(pyramid(jnp.asarray(x, jnp.float32)), expected, atol=1e-5)
  assert np.std(expected) > 0.01


@pytest.mark.parametrize("sizes", [(33, 47), (1, 1), (129,), (17, 20, 33)], ids=str)
@pytest.mark.parametrize("output_stride", [8, 16])
def test_the_output_has_the_inputs_size(sizes, output_stride):
  options = {"in_channels": 2, "num_classes": 7, "rank": len(sizes), "dtype": jnp.bfloat16}
  model = abstract_model("deeplabv3_resnet50", output_stride=output_stride, **options)
  model.eval()
  graph, state = nnx.split(model)
  x = jax.ShapeDtypeStruct((2, *sizes, 2), jnp.float32)
  logits = jax.eval_shape(lambda state, x: nnx.merge(graph, state)(x), state, x)
  assert logits.shape == (2, *sizes, 7) and logits.dtype == jnp.float32


def test_the_pooled_branch_needs_two_examples_in_training():
  """Its map is one value per channel and example, whatever the size of the input."""
  model = abstract_model("deeplabv3_resnet50", num_classes=5)
  graph, state = nnx.split(model)
  run = lambda state, x: nnx.merge(graph, state)(x)  # noqa: E731
  with pytest.raises(UserError, match=r"more than one value per channel.*BatchNorm\(256\).*config\.batch_size"):
    jax.eval_shape(run, state, jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32))
  assert jax.eval_shape(run, state, jax.ShapeDtypeStruct((2, 64, 64, 3), jnp.float32)).shape == (2, 64, 64, 5)


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"output_stride": 32}, "output_stride=32 must be 8 or 16"),
    ({"rates": (1, 2)}, "model deeplabv3_resnet50 has no option 'rates'"),
  ],
)
def test_mistakes(options, message):
  with pytest.raises(UserError, match=message) as error:
    abstract_model("deeplabv3_resnet50", **options)
  assert "\n" not in str(error.value)


def _smaller_rate(model):
  conv = model.head.pyramid.branches[1].conv
  conv.dilation, conv.padding = (6, 6), 6


def _without_pooling(model):
  model.head.pyramid.pooled.norm.scale.set_value(jnp.zeros(deeplab.CHANNELS))
  model.head.pyramid.pooled.norm.bias.set_value(jnp.zeros(deeplab.CHANNELS))


@pytest.mark.parametrize("alter", [_smaller_rate, _without_pooling], ids=lambda alter: alter.__name__)
def test_golden_logits_notice(alter):
  assert golden.error("deeplabv3_resnet50", alter) > 2e-4


def test_the_head_of_another_rank():
  head = DeepLabHead(4, 3, (1, 2, 3), rank=1, rngs=nnx.Rngs(0))
  assert head(images(9, batch=2)[..., [0, 1, 2, 0]]).shape == (2, 9, 3)

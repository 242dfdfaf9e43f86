import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from cnn_zoo import create_model
from cnn_zoo.errors import UserError
from cnn_zoo.layers import BatchNorm, set_noise
from cnn_zoo.models import abstract_model
from cnn_zoo.models.efficientnet import SCALINGS, compound_scaling
from cnn_zoo.models.scaling import scale_channels, scale_layers
from tests.helpers import golden
from tests.helpers.members import MULTIPLIED, Member, ranks
from tests.helpers.model_checks import QUICK, images, traced_shape

MEMBERS = {
  "efficientnet_b0": Member(ranks(32, 32, 16), MULTIPLIED),
}
FEATURES = {
  "EfficientNet": "stem 2, stage1 2, stage2 4, stage3 8, stage4 16, stage5 16, stage6 32, stage7 32",
}

TINY = {"width": 0.25, "depth": 0.1}  # one block a stage


def tiny(**options):
  return create_model("efficientnet_b0", **{"num_classes": 5, "rngs": nnx.Rngs(0)} | TINY | options)


def compiled(model):
  """The function (model, x) -> (logits, batch statistics after them) for models such as this one."""
  graph, _ = nnx.split(model)

  @functools.partial(jax.jit, compiler_options=QUICK)
  def run(state, x):
    model = nnx.merge(graph, state)
    logits = model(x)
    return logits, nnx.to_pure_dict(nnx.state(model, nnx.BatchStat))

  return lambda model, x: run(nnx.state(model), x)


def outline(model):
  """(channels, how many blocks, kernel, stride) of each run of blocks with the same channels."""
  rows = []
  for block in model.blocks:
    channels = block.project.conv.out_features
    if rows and rows[-1][0] == channels:
      rows[-1][1] += 1
    else:
      rows.append([channels, 1, block.depthwise.conv.kernel_size[0], block.depthwise.conv.strides[0]])
  return [tuple(row) for row in rows]


def test_b0_is_table_1():
  model = abstract_model("efficientnet_b0")
  assert outline(model) == [
    (16, 1, 3, 1),
    (24, 2, 3, 2),
    (40, 2, 5, 2),
    (80, 3, 3, 2),
    (112, 3, 5, 1),
    (192, 4, 5, 2),
    (320, 1, 3, 1),
  ]
  assert (model.stem.conv.out_features, model.head.conv.out_features) == (32, 1280)
  assert [block.expand is None for block in model.blocks] == [True] + 15 * [False]
  depthwise = model.blocks[3].depthwise.conv
  assert depthwise.in_features == depthwise.groups == 6 * 24
  assert model.blocks[3].excite.reduce.out_features == 24 // 4  # of the block's input, not of its expansion
  assert sum(block.residual for block in model.blocks) == 9


def test_b7():
  model = abstract_model("efficientnet_b7")
  assert [row[:2] for row in outline(model)] == [
    (32, 4),
    (48, 7),
    (80, 7),
    (160, 10),
    (224, 10),
    (384, 13),
    (640, 4),
  ]
  assert (model.stem.conv.out_features, model.head.conv.out_features, len(model.blocks)) == (64, 2560, 55)


def test_compound_scaling():
  # B2 and B4 as torchvision prints them.
  assert [scale_channels(c, 1.1) for c in (32, 16, 24, 40, 80, 112, 192, 320, 1280)] == [
    *(32, 16, 24, 48, 88, 120, 208, 352, 1408)
  ]
  assert [scale_channels(c, 1.4) for c in (32, 16, 24, 40, 80, 112, 192, 320, 1280)] == [
    *(48, 24, 32, 56, 112, 160, 272, 448, 1792)
  ]
  assert scale_channels(19, 1.0) == 24  # 16 would be down by more than 10%
  assert scale_channels(3, 0.25) == 8
  assert [scale_layers(n, 1.1) for n in (1, 2, 3, 4)] == [2, 3, 4, 5]
  assert scale_layers(3, 1.0) == 3
  assert [SCALINGS[f"efficientnet_b{i}"].resolution for i in range(8)] == [224, 240, 260, 300, 380, 456, 528, 600]


def test_compound_scaling_by_phi():
  assert compound_scaling(0) == (1.0, 1.0, 224)
  width, depth, resolution = compound_scaling(2)
  assert (width, depth, resolution) == (pytest.approx(1.1**2), pytest.approx(1.2**2), round(224 * 1.15**2))
  assert depth * width**2 * (resolution / 224) ** 2 == pytest.approx(2**2, rel=0.1)  # the constraint of equation 3
  for name, phi in (("b1", 0.5), ("b2", 1), ("b3", 2), ("b5", 5), ("b6", 6), ("b7", 7)):
    assert compound_scaling(phi)[2] == pytest.approx(SCALINGS[f"efficientnet_{name}"].resolution, rel=0.025)


@pytest.mark.parametrize("options", [{"width": 0}, {"depth": -1.0}])
def test_mistakes(options):
  with pytest.raises(UserError, match=f"{next(iter(options))}={next(iter(options.values()))} must be above 0"):
    abstract_model("efficientnet_b0", **options)


def test_stochastic_depth_grows_linearly():
  model = abstract_model("efficientnet_b0", stochastic_depth_rate=0.32)
  for index, block in enumerate(model.blocks):
    assert block.stochastic_depth.rate == pytest.approx(0.32 * index / 16 if block.residual else 0)
  rates = [block.stochastic_depth.rate for block in abstract_model("efficientnet_b0").blocks]
  assert max(rates) == pytest.approx(0.2 * 14 / 16)


def test_another_size_and_one_channel():
  model = tiny(in_channels=1)
  model.eval()
  logits, _ = compiled(model)(model, images(33, 47, channels=1))
  assert logits.shape == (4, 5) and np.isfinite(logits).all()


def test_training():
  model, x = tiny(dropout_rate=0.5), images(32, 32)
  graph, state = nnx.split(model)
  weights = jax.random.normal(jax.random.key(2), (4, 5))

  @functools.partial(jax.jit, compiler_options=QUICK)
  def run(state, x):
    def loss(model):
      logits = model(x)
      return jnp.sum(weights * logits), logits

    model = nnx.merge(graph, state)
    gradient, logits = nnx.grad(loss, has_aux=True)(model)
    return logits, nnx.to_pure_dict(gradient), nnx.to_pure_dict(nnx.state(model, nnx.BatchStat))

  logits, gradient, after = run(state, x)
  for path, g in jax.tree_util.tree_leaves_with_path(gradient):
    assert np.isfinite(g).all() and np.abs(g).max() > 0, path

  before = nnx.to_pure_dict(nnx.state(model, nnx.BatchStat))
  moved = jax.tree.map(lambda a, b: float((a != b).mean()), before, after)
  assert min(jax.tree.leaves(moved)) > 0.5  # some means are exactly zero after a normalisation

  np.testing.assert_array_equal(run(state, x)[0], logits)  # a function of the keys alone
  set_noise(model, jax.random.key(9))
  assert (logits != run(nnx.state(model), x)[0]).any()


@pytest.fixture(scope="module")
def evaluation():
  """A model in evaluation mode, and compiled."""
  model = tiny(dropout_rate=0.5)
  model.eval()
  return model, compiled(model)


def test_evaluation_is_deterministic(evaluation):
  model, run = evaluation
  x, before = images(32, 32), nnx.to_pure_dict(nnx.state(model, nnx.BatchStat))
  logits, after = run(model, x)
  jax.tree.map(np.testing.assert_array_equal, before, after)
  set_noise(model, jax.random.key(10))
  others, _ = run(model, x.at[2:].set(0.0))
  np.testing.assert_array_equal(others[:2], logits[:2])  # whatever the rest of the batch


def test_bfloat16_computes_in_bfloat16_and_answers_in_float32(evaluation):
  x, model = images(32, 32), tiny(dtype=jnp.bfloat16)
  model.eval()
  assert all(p.dtype == jnp.float32 for p in jax.tree.leaves(nnx.state(model, nnx.Param)))
  (expected, _), (logits, _) = evaluation[1](evaluation[0], x), compiled(model)(model, x)
  assert logits.dtype == jnp.float32
  assert 0 < np.abs(logits - expected).max() < 0.1 * np.std(expected)


@pytest.mark.parametrize("shape", [(4, 100, 2), (2, 9, 20, 31, 3)], ids=str)
def test_other_ranks(shape):
  rank = len(shape) - 2
  assert traced_shape("efficientnet_b0", *shape, rank=rank, num_classes=7) == (shape[0], 7)


def stride(model):
  model.blocks[11].depthwise.conv.strides = (1, 1)


def padding(model):
  model.blocks[11].depthwise.conv.padding = "SAME"


def epsilon(model):
  for _, module in nnx.iter_modules(model):
    if isinstance(module, BatchNorm):
      module.epsilon = 1e-3


def activation(model):
  model.blocks[11].excite.activation = jax.nn.relu


def residual(model):
  model.blocks[12].residual = False


@pytest.mark.parametrize("alter", [stride, padding, epsilon, activation, residual])
def test_golden_logits_notice(alter):
  assert golden.error("efficientnet_b0", alter) > 1e-4

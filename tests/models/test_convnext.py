import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from cnn_zoo import create_model, describe
from cnn_zoo.errors import UserError
from cnn_zoo.layers import LayerNorm
from cnn_zoo.models import abstract_model
from cnn_zoo.models.convnext import Block
from cnn_zoo.training.optimizers import create_optimizer
from configs import base
from tests.helpers import golden
from tests.helpers.members import Member, ranks
from tests.helpers.model_checks import evaluated, images, traced_shape

TINY = {"channels": (8, 16, 16), "blocks": (1, 2, 1)}
MEMBERS = {
  "convnext_tiny": Member(ranks(32, 32, 16), {**TINY, "layer_scale": 1.0, "stochastic_depth_rate": 0.3}),
}
FEATURES = {
  "ConvNeXt": "stage1 4, stage2 8, stage3 16, stage4 32",
}


@pytest.mark.parametrize(  # section 3
  ("name", "channels", "blocks", "rate"),
  [
    ("convnext_tiny", 96, (3, 3, 9, 3), 0.1),
    ("convnext_small", 96, (3, 3, 27, 3), 0.4),
    ("convnext_base", 128, (3, 3, 27, 3), 0.5),
    ("convnext_large", 192, (3, 3, 27, 3), 0.5),
    ("convnext_xlarge", 256, (3, 3, 27, 3), 0.5),
  ],
)
def test_sizes(name, channels, blocks, rate):
  model = abstract_model(name)
  rows = {row.path: row for row in describe(model, (224, 224, 3)).rows}
  assert tuple(map(len, model.stages)) == blocks
  for stage, size in enumerate((56, 28, 14, 7)):
    assert rows[f"stages.{stage}.0.depthwise"].output_shape == (size, size, channels * 2**stage)
    assert rows[f"stages.{stage}.0.expand"].output_shape == (size, size, 4 * channels * 2**stage)
  rates = [block.stochastic_depth.rate for stage in model.stages for block in stage]
  np.testing.assert_allclose(rates, np.linspace(0, rate, sum(blocks)))


def test_figure_4():
  block = abstract_model("convnext_tiny").stages[0][0]
  assert block.depthwise.kernel_size == (7, 7) and block.depthwise.groups == block.depthwise.in_features == 96
  assert (block.expand.out_features, block.project.out_features) == (384, 96)
  norms = [m for _, m in nnx.iter_modules(abstract_model("convnext_tiny")) if isinstance(m, LayerNorm)]
  assert len(norms) == 1 + 18 + 3 + 1 and {norm.epsilon for norm in norms} == {1e-6}


def test_initial_values():
  model = create_model("convnext_tiny", blocks=(1, 1, 1, 1), rngs=nnx.Rngs(0))
  block = model.stages[3][0]
  for layer in (
    model.stem,
    block.depthwise,
    block.expand,
    block.project,
    model.downsamplings[0].conv,
    model.classifier,
  ):
    kernel = np.asarray(layer.kernel[...])
    assert kernel.std() == pytest.approx(0.02, rel=0.02) and np.abs(kernel).max() < 0.0455
    np.testing.assert_array_equal(layer.bias[...], 0)
  np.testing.assert_array_equal(block.layer_scale.gamma[...], np.full(768, 1e-6, np.float32))


def test_weight_decay_spares_normalisation_and_layer_scale():
  model = create_model("convnext_tiny", num_classes=5, rngs=nnx.Rngs(0), **TINY)
  for _, module in nnx.iter_modules(model):  # as after some training, so that decay would be seen
    if getattr(module, "bias", None) is not None:
      module.bias.set_value(jnp.ones_like(module.bias[...]))
  settings = base.get_config().optimizer
  settings.name, settings.weight_decay = "adamw", 0.5
  params = nnx.to_pure_dict(nnx.state(model, nnx.Param))
  optimizer = create_optimizer(settings, 1.0)
  updates, _ = optimizer.update(jax.tree.map(jnp.zeros_like, params), optimizer.init(params), params)
  decayed = {jax.tree_util.keystr(path) for path, u in jax.tree_util.tree_leaves_with_path(updates) if np.any(u)}
  kernels = {jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(params)}
  assert decayed == {path for path in kernels if path.endswith("['kernel']")} and len(decayed) == 1 + 4 * 3 + 2 + 1


@pytest.mark.parametrize("shape", [(4, 100, 2), (2, 33, 47, 1), (2, 16, 20, 31, 3)], ids=str)
def test_other_ranks_sizes_and_channels(shape):
  rank = len(shape) - 2
  assert traced_shape("convnext_tiny", *(max(32, n) for n in shape[:-1]), shape[-1], rank=rank, num_classes=7) == (
    32,
    7,
  )


def test_bfloat16_computes_in_bfloat16_and_answers_in_float32():
  x, results = images(32, 32), []
  for dtype in (jnp.float32, jnp.bfloat16):
    model = create_model("convnext_tiny", num_classes=5, layer_scale=1.0, dtype=dtype, rngs=nnx.Rngs(0), **TINY)
    results.append(evaluated(model, x))
  assert results[1].dtype == jnp.float32
  assert 0 < np.abs(results[0] - results[1]).max() < 0.1 * np.std(results[0])


@pytest.mark.parametrize("options", [{"channels": (8, 16)}, {"blocks": (3, 3, 0, 3)}, {"channels": (), "blocks": ()}])
def test_mistakes(options):
  with pytest.raises(UserError, match=r"channels=.* and blocks=.* must have one number of at least 1 for each stage"):
    abstract_model("convnext_tiny", **options)


def stride(model):
  model.downsamplings[2].conv.strides = (1, 1)


def padding(model):
  model.stages[2][4].depthwise.padding = ((2, 4), (3, 3))


def epsilon(model):
  for _, module in nnx.iter_modules(model):
    if isinstance(module, LayerNorm):
      module.epsilon = 1e-3


def layer_scale(model):
  gamma = model.stages[2][4].layer_scale.gamma
  gamma.set_value(jnp.ones_like(gamma[...]))


class TanhBlock(Block):
  """With the approximation of GELU by a hyperbolic tangent."""

  def __call__(self, x):
    y = jax.nn.gelu(self.expand(self.norm(self.depthwise(x))), approximate=True)
    return x + self.stochastic_depth(self.layer_scale(self.project(y)))


def activation(model):
  for block in model.stages[2]:
    object.__setattr__(block, "__class__", TanhBlock)


@pytest.mark.parametrize("alter", [stride, padding, epsilon, layer_scale, activation])
def test_golden_logits_notice(alter):
  assert golden.error("convnext_tiny", alter) > 1e-4

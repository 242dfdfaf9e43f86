"""Every family of image classifiers over waveforms and over clips: a training step at rank 1 and at rank 3."""

import dataclasses
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from cnn_zoo import create_model
from cnn_zoo.convolutions import lowering
from cnn_zoo.models import abstract_model, list_models, model_options, registry
from cnn_zoo.models.densenet import Size
from cnn_zoo.models.googlenet import Channels
from tests.helpers.model_checks import images, trained


@dataclasses.dataclass(frozen=True)
class Member:
  """A small network of a family.

  Attributes:
    samples: of its waveforms.
    side: of its clips, along each axis.
    options: of the architecture.
    tables: sizes that no option changes, by where they are in cnn_zoo.models.
    quick: whether it is small enough to compute its training step at rank 3.
  """

  samples: int
  side: int
  options: Mapping = dataclasses.field(default_factory=dict)
  tables: Mapping = dataclasses.field(default_factory=dict)
  quick: bool = True


FULLY_CONNECTED = {"hidden_features": 16, "dropout_rate": 0.2}
MULTIPLIED = {"width": 0.25, "depth": 0.1}
STAGES = {"resnet.CHANNELS": (8, 12, 16, 20)}
INCEPTIONS = {
  "googlenet.STEM": (8, 8, 12),
  "googlenet.BLOCKS": dict.fromkeys(("4a",), Channels(4, 3, 4, 2, 4, 4)),
}
MEMBERS = {
  "lenet5": Member(32, 32),
  "lenet_maxpool": Member(16, 16),
  "alexnet": Member(63, 63, FULLY_CONNECTED, quick=False),
  "alexnet_two_towers": Member(67, 67, FULLY_CONNECTED, quick=False),
  "zfnet": Member(47, 47, FULLY_CONNECTED, quick=False),
  "vgg11_bn": Member(64, 32, FULLY_CONNECTED, {"vgg.CHANNELS": (4, 8, 8, 12, 12)}),
  "googlenet": Member(32, 16, {}, INCEPTIONS),
  "googlenet_paper": Member(32, 16, {}, INCEPTIONS),
  "resnet18": Member(32, 16, {}, STAGES | {"resnet.LAYERS": {18: (1, 1, 1, 1)}}),
  "plain18": Member(32, 16, {}, STAGES | {"resnet.LAYERS": {18: (1, 1, 1, 1)}}),
  "resnetv2_18": Member(32, 16, {}, STAGES | {"resnetv2.LAYERS": {18: (1, 1, 1, 1)}}),
  "densenet121": Member(64, 32, {"growth_rate": 4}, {"densenet.SIZES": {"densenet121": Size(4, (1, 2, 2, 1))}}),
  "mobilenet_v1": Member(32, 16, {}, {"mobilenet_v1.LAYERS": ((16, 1), (24, 2), (24, 1), (32, 2))}),
  "mobilenet_v2": Member(32, 16, {}, {"mobilenet_v2.BOTTLENECKS": ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 2, 2))}),
  "xception": Member(32, 16, {"middle_blocks": 1}),
  "efficientnet_b0": Member(32, 16, MULTIPLIED),
  "efficientnet_v2_s": Member(32, 16, MULTIPLIED),
  "convnext_tiny": Member(32, 16, {"channels": (8, 12, 16), "blocks": (1, 2, 1), "layer_scale": 1.0}),
}
DENSE_PREDICTION = {"deeplab", "fcn", "unet"}  # no classifiers; other ranks are in their own tests


def family(name):
  """The module of model `name`."""
  builder = registry._BUILDERS[name]
  return getattr(builder, "func", builder).__module__.rpartition(".")[2]  # of a partial function: of the function


def test_every_family_has_a_member_here():
  families = {family(name) for name in list_models() if "rank" in model_options(name)}
  assert families - DENSE_PREDICTION == set(map(family, MEMBERS))


@pytest.fixture
def member(name, monkeypatch):
  for table, sizes in MEMBERS[name].tables.items():
    monkeypatch.setattr(f"cnn_zoo.models.{table}", sizes)
  return MEMBERS[name]


def check_ranks(model, rank):
  """Every kernel of `model` with spatial axes has `rank` of them."""
  kernels = [p.ndim - 2 for p in jax.tree.leaves(nnx.to_pure_dict(nnx.state(model, nnx.Param))) if p.ndim > 2]
  assert kernels and set(kernels) == {rank}


@pytest.mark.parametrize(
  ("name", "rank"), [(name, rank) for name in MEMBERS for rank in (1, 3) if rank == 1 or MEMBERS[name].quick]
)
def test_training(name, rank, member):
  """All parameters get a finite gradient that is not zero, but those behind a classifier that starts at zero."""
  model = create_model(name, num_classes=5, in_channels=2, rank=rank, rngs=nnx.Rngs(0), **member.options)
  check_ranks(model, rank)
  sizes = (member.samples,) if rank == 1 else (member.side,) * 3
  with lowering("auto" if rank == 1 else "lax"):  # which XLA compiles at rank 3 several times faster
    logits, gradient, _ = trained(model, images(*sizes, channels=2))
  assert logits.shape == (4, 5) and np.isfinite(logits).all()
  for path, g in jax.tree_util.tree_leaves_with_path(gradient):
    behind_zeros = name == "lenet_maxpool" and "classifier" not in jax.tree_util.keystr(path)
    assert np.isfinite(g).all() and (np.abs(g).max() > 0) != behind_zeros, jax.tree_util.keystr(path)


@pytest.mark.parametrize("name", [name for name in MEMBERS if not MEMBERS[name].quick])
def test_training_is_traced_at_rank_3(name, member):
  """The shapes of a training step alone: these are too large for a test to compute."""
  model = abstract_model(name, num_classes=5, in_channels=2, rank=3, **member.options)
  check_ranks(model, 3)
  graph, parameters, rest = nnx.split(model, nnx.Param, ...)

  def gradient(parameters, rest, x):
    return jax.grad(lambda parameters: jnp.sum(jnp.sin(nnx.merge(graph, parameters, rest, copy=True)(x))))(parameters)

  with lowering("lax"):
    x = jax.ShapeDtypeStruct((4, *(member.side,) * 3, 2), jnp.float32)
    shapes = jax.eval_shape(gradient, parameters, rest, x)
  assert jax.tree.map(jnp.shape, shapes) == jax.tree.map(jnp.shape, parameters)

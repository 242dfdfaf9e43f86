"""A small network of every family: its training step at ranks 1 to 3, rematerialisation, and its export."""

import dataclasses
from collections.abc import Mapping

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from cnn_zoo import create_model
from cnn_zoo.convolutions import lowering
from cnn_zoo.models import abstract_model, list_models, model_options, registry
from cnn_zoo.models.googlenet import Channels
from cnn_zoo.models.m_networks import Column
from tests.helpers.model_checks import check_gradients, images, shrink, trained


@dataclasses.dataclass(frozen=True)
class Member:
  """A small network of a family.

  Attributes:
    sizes: {rank: size of the input along each axis}; the first rank is the family's own.
    options: of the architecture.
    fixed: {model: values that replace the fixed ones of its registry entry}.
    tables: values of constants, by where they are in cnn_zoo.models.
    quick: whether it is small enough to compute its training step at rank 3.
  """

  sizes: Mapping[int, int]
  options: Mapping = dataclasses.field(default_factory=dict)
  fixed: Mapping = dataclasses.field(default_factory=dict)
  tables: Mapping = dataclasses.field(default_factory=dict)
  quick: bool = True


def ranks(image, waveform=None, clip=None):
  return {2: image, 1: waveform or image, 3: clip or image}


def one_block(name):
  return {name: {"layers": (1, 1, 1, 1)}}


FULLY_CONNECTED = {"hidden_features": 16, "dropout_rate": 0.2}
MULTIPLIED = {"width": 0.25, "depth": 0.1, "dropout_rate": 0.5}
RESNET = {"resnet.CHANNELS": (8, 12, 16, 20), "resnet.STEM": 8}
INCEPTIONS = {
  "googlenet.STEM": (8, 8, 12),
  "googlenet.BLOCKS": dict.fromkeys(("3b", "4a", "4e"), Channels(4, 3, 4, 2, 4, 4)),
}
PYRAMID = {"deeplab.CHANNELS": 8, "deeplab.RATES": {8: (1, 2, 3)}}  # rates of which all taps lie inside the map
MEMBERS = {
  "lenet5": Member(ranks(32)),
  "lenet_maxpool": Member(ranks(16)),
  "alexnet": Member(ranks(63), FULLY_CONNECTED, quick=False),
  "alexnet_two_towers": Member(ranks(67), FULLY_CONNECTED, quick=False),
  "zfnet": Member(ranks(47), FULLY_CONNECTED, quick=False),
  "vgg11": Member(ranks(32, 64), FULLY_CONNECTED, tables={"vgg.CHANNELS": (4, 8, 8, 12, 12)}),
  "vgg11_bn": Member(ranks(32, 64), FULLY_CONNECTED, tables={"vgg.CHANNELS": (4, 8, 8, 12, 12)}),
  "googlenet": Member(ranks(32, 32, 16), tables=INCEPTIONS),
  "googlenet_paper": Member(ranks(32, 32, 16), {"stem": "separable"}, tables=INCEPTIONS),
  "resnet18": Member(ranks(32, 32, 16), fixed=one_block("resnet18"), tables=RESNET),
  "resnet50": Member(ranks(32, 32, 16), fixed=one_block("resnet50"), tables=RESNET),
  "plain18": Member(ranks(32, 32, 16), fixed=one_block("plain18"), tables=RESNET),
  "resnetv2_18": Member(ranks(32, 32, 16), fixed=one_block("resnetv2_18"), tables=RESNET),
  "densenet121": Member(ranks(64, 64, 32), {"growth_rate": 4}, {"densenet121": {"layers": (1, 2, 2, 1)}}),
  "mobilenet_v1": Member(
    ranks(32, 32, 16),
    tables={"mobilenet_v1.LAYERS": ((16, 1), (24, 2), (24, 1), (32, 2)), "mobilenet_v1.STAGES": (1, 2, 1)},
  ),
  "mobilenet_v2": Member(
    ranks(32, 32, 16), tables={"mobilenet_v2.BOTTLENECKS": ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 2, 2))}
  ),
  "xception": Member(ranks(32, 32, 16), {"middle_blocks": 1}),
  "efficientnet_b0": Member(ranks(32, 32, 16), MULTIPLIED),
  "efficientnet_v2_s": Member(ranks(32, 32, 16), MULTIPLIED),
  "convnext_tiny": Member(
    ranks(32, 32, 16),
    {"channels": (8, 12, 16), "blocks": (1, 2, 1), "layer_scale": 1.0, "stochastic_depth_rate": 0.3},
  ),
  "c3d": Member({3: 16}, {"width": 0.125, "hidden_features": 16}),
  "r2plus1d_18": Member(
    {3: 16},
    fixed=one_block("r2plus1d_18"),
    tables={"video_resnet.STEM": 8, "video_resnet.CHANNELS": (8, 12, 16, 20)},
  ),
  "m5": Member({1: 400}),
  "m34_res": Member({1: 400}, fixed={"m34_res": {"column": Column(8, ((8, 1), (12, 2)), residual=True)}}),
  "unet": Member(ranks(12), {"features": 4, "depth": 2}),
  "fcn8s": Member(
    ranks(40),
    FULLY_CONNECTED,
    {"vgg16": {"layers": (1, 1, 1, 1, 1)}},
    {"vgg.CHANNELS": (4, 8, 8, 12, 12)},
  ),
  "fcn_resnet18": Member(ranks(33), fixed=one_block("resnet18"), tables=RESNET),
  "deeplabv3_resnet50": Member(ranks(33), fixed=one_block("resnet50"), tables=RESNET | PYRAMID),
}
STARTS_AT_ZERO = ("lenet_maxpool", "fcn8s")  # so that a gradient reaches the classifier only
OTHER_RANKS = [(name, rank) for name, member in MEMBERS.items() if name != "fcn8s" for rank in list(member.sizes)[1:]]


def family(name):
  """The module of model `name`."""
  return registry.entry(name).model.__module__.rpartition(".")[2]


def test_every_family_has_a_member_here():
  assert {*map(family, list_models())} == {*map(family, MEMBERS)}


@pytest.fixture
def member(name, monkeypatch):
  for model, values in MEMBERS[name].fixed.items():
    shrink(monkeypatch, model, **values)
  for table, value in MEMBERS[name].tables.items():
    monkeypatch.setattr(f"cnn_zoo.models.{table}", value)
  return MEMBERS[name]


def arguments(name, rank, **options):
  """The arguments of `create_model` for the member at that rank."""
  options = {"num_classes": 5, "in_channels": 2, **MEMBERS[name].options, **options}
  return options | ({"rank": rank} if "rank" in model_options(name) else {})


def batch_of(member, rank):
  return images(*(member.sizes[rank],) * rank, channels=2)


def reached_by_gradient(name, logits, gradient):
  """All parameters get a finite gradient that is not zero, except those before a classifier that starts at zero."""
  assert np.isfinite(logits).all() and (name in STARTS_AT_ZERO or np.ptp(logits, 0).min() > 0)
  for path, g in jax.tree_util.tree_leaves_with_path(gradient):
    before_zeros = name in STARTS_AT_ZERO and "classifier" not in jax.tree_util.keystr(path)
    assert np.isfinite(g).all() and (np.abs(g).max() > 0) != before_zeros, jax.tree_util.keystr(path)


@pytest.mark.parametrize("name", MEMBERS)
def test_training(name, member):
  """The same with rematerialisation as without."""
  rank = next(iter(member.sizes))
  x = batch_of(member, rank)
  if "remat" in model_options(name) and name not in STARTS_AT_ZERO:
    models = [create_model(name, rngs=nnx.Rngs(0), **arguments(name, rank, remat=remat)) for remat in (False, True)]
    pixels = x.shape[1:-1] if name.startswith(("unet", "fcn", "deeplab")) else ()
    logits, _, statistics = check_gradients(models, x, (4, *pixels, 5))
    assert np.isfinite(logits).all() and np.ptp(logits, 0).min() > 0
    for path, statistic in jax.tree_util.tree_leaves_with_path(statistics):
      assert (statistic != ("variance" in str(path))).any(), path
  else:
    logits, gradient, _ = trained(create_model(name, rngs=nnx.Rngs(0), **arguments(name, rank)), x)
    reached_by_gradient(name, logits, gradient)


def check_ranks(model, rank):
  """Every kernel of `model` with spatial axes has `rank` of them."""
  kernels = [p.ndim - 2 for p in jax.tree.leaves(nnx.to_pure_dict(nnx.state(model, nnx.Param))) if p.ndim > 2]
  assert kernels and set(kernels) == {rank}


@pytest.mark.parametrize(("name", "rank"), [(n, r) for n, r in OTHER_RANKS if r == 1 or MEMBERS[n].quick])
def test_training_at_other_ranks(name, rank, member):
  model = create_model(name, rngs=nnx.Rngs(0), **arguments(name, rank))
  check_ranks(model, rank)
  with lowering("auto" if rank == 1 else "lax"):  # which XLA compiles at rank 3 several times faster
    logits, gradient, _ = trained(model, batch_of(member, rank))
  reached_by_gradient(name, logits, gradient)


@pytest.mark.parametrize(("name", "rank"), [(n, r) for n, r in OTHER_RANKS if r == 3 and not MEMBERS[n].quick])
def test_training_is_traced_at_rank_3(name, rank, member):
  """Only the shapes of a training step: these networks are too large for a test to compute it."""
  model = abstract_model(name, **arguments(name, rank))
  check_ranks(model, rank)
  graph, parameters, rest = nnx.split(model, nnx.Param, ...)

  def gradient(parameters, rest, x):
    return jax.grad(lambda parameters: jnp.sum(jnp.sin(nnx.merge(graph, parameters, rest, copy=True)(x))))(parameters)

  with lowering("lax"):
    x = jax.ShapeDtypeStruct((4, *(member.sizes[rank],) * rank, 2), jnp.float32)
    shapes = jax.eval_shape(gradient, parameters, rest, x)
  assert jax.tree.map(jnp.shape, shapes) == jax.tree.map(jnp.shape, parameters)


@pytest.mark.parametrize("name", MEMBERS)
def test_export_with_a_symbolic_batch(name, member):
  rank = next(iter(member.sizes))
  model = abstract_model(name, **arguments(name, rank))
  model.eval()
  graph, state = nnx.split(model)
  (batch,) = jax.export.symbolic_shape("batch")
  x = jax.ShapeDtypeStruct((batch, *(member.sizes[rank],) * rank, 2), jnp.float32)
  exported = jax.export.export(jax.jit(lambda state, x: nnx.merge(graph, state)(x)))(state, x)
  (logits,) = exported.out_avals
  assert logits.shape[0] == batch and logits.shape[-1] == 5

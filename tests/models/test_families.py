"""A small network of every family: its training step at ranks 1 to 3, rematerialisation, and its export."""

import importlib
import math
import pathlib

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from cnn_zoo import create_model
from cnn_zoo.convolutions import lowering
from cnn_zoo.models import abstract_model, list_models, model_options, published_setting, registry
from cnn_zoo.models.network import last
from tests.helpers.model_checks import check_gradients, images, shrink, trained

# The file of a family's tests has two tables: MEMBERS, its small networks by the model's name; and FEATURES, the names
# of the features of each class, and how many times smaller than the input they are (the last spatial axis).
MEMBERS, FEATURES = {}, {}
for _path in sorted(pathlib.Path(__file__).parent.glob("test_*.py")):
  if _path != pathlib.Path(__file__):
    _module = importlib.import_module(f"tests.models.{_path.stem}")
    MEMBERS |= getattr(_module, "MEMBERS", {})
    FEATURES |= getattr(_module, "FEATURES", {})
OTHER_RANKS = [(name, rank) for name, member in MEMBERS.items() for rank in list(member.sizes)[1:]]
DENSE_PREDICTION = ("unet", "fcn", "deeplab")


def family(name):
  """The module of model `name`."""
  return registry.entry(name).model.__module__.rpartition(".")[2]


def test_every_family_has_a_member():
  assert {*map(family, list_models())} == {*map(family, MEMBERS)}
  assert {registry.entry(name).model.__name__ for name in list_models()} == FEATURES.keys()


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


def check_gradient(member, logits, gradient):
  """Every parameter gets a finite gradient that is not zero, except those before a classifier that starts at zero."""
  assert np.isfinite(logits).all() and (member.reached or np.ptp(logits.reshape(-1, 5), 0).min() > 0)
  for path, g in jax.tree_util.tree_leaves_with_path(gradient):
    reached = not member.reached or path[0].key in member.reached
    assert np.isfinite(g).all() and (np.abs(g).max() > 0) == reached, jax.tree_util.keystr(path)


@pytest.mark.parametrize("name", MEMBERS)
def test_training(name, member):
  """The same with rematerialisation as without."""
  rank = next(iter(member.sizes))
  x = batch_of(member, rank)
  if "remat" in model_options(name) and not member.reached:
    models = [create_model(name, rngs=nnx.Rngs(0), **arguments(name, rank, remat=remat)) for remat in (False, True)]
    pixels = x.shape[1:-1] if name.startswith(DENSE_PREDICTION) else ()
    logits, _, statistics = check_gradients(models, x, (4, *pixels, 5))
    assert np.isfinite(logits).all() and np.ptp(logits.reshape(-1, 5), 0).min() > 0
    for path, statistic in jax.tree_util.tree_leaves_with_path(statistics):
      assert (statistic != ("variance" in str(path))).any(), path
  else:
    logits, gradient, _ = trained(create_model(name, rngs=nnx.Rngs(0), **arguments(name, rank)), x)
    check_gradient(member, logits, gradient)


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
  check_gradient(member, logits, gradient)


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


@pytest.mark.parametrize("name", MEMBERS)
def test_forward_mode_is_traced_in_training(name, member):
  """Tangents of the parameters and of the input. Tracing is where it would fail; layers have tests of the values."""
  model = abstract_model(name, **arguments(name, next(iter(member.sizes))))
  graph, parameters, rest = nnx.split(model, nnx.Param, ...)

  def tangent(parameters, rest, x):
    run = lambda parameters, x: nnx.merge(graph, parameters, rest, copy=True)(x)  # noqa: E731
    return jax.jvp(run, (parameters, x), (parameters, x))

  x = batch_of(member, next(iter(member.sizes)))
  logits, tangents = jax.eval_shape(tangent, parameters, rest, x)
  assert jax.tree.map(jnp.shape, logits) == jax.tree.map(jnp.shape, tangents)
  assert jax.tree.leaves(tangents)[0].shape[-1] == 5


SMALLER_STAGES = {"MNetwork", "EfficientNetV2"}  # some of whose sizes have fewer


def traced(model, x, method="__call__"):
  """Shapes and dtypes of what a method of `model` returns for x in evaluation mode."""
  model.eval()
  graph, state = nnx.split(model)
  with lowering("lax"):
    return jax.eval_shape(lambda state, x: getattr(nnx.merge(graph, state), method)(x), state, x)


@pytest.mark.parametrize("name", list_models())
def test_features_and_logits_of_the_published_input(name):
  setting, kind = published_setting(name), registry.entry(name).model
  *sizes, channels = setting.input_shape
  sizes = [max(size, 128) for size in sizes] if name.startswith("lenet") else sizes  # whose convolutions are not padded
  x = jax.ShapeDtypeStruct((2, *sizes, channels), jnp.float32)
  options = {"num_classes": setting.num_classes, "in_channels": channels}
  maps = traced(abstract_model(name, features_only=True, **options), x)
  reductions = {stage: 2 ** round(math.log2(sizes[-1] / y.shape[-2])) for stage, y in maps.items()}
  expected = [item.split() for item in FEATURES[kind.__name__].split(", ")]
  expected = expected[: len(maps)] if kind.__name__ in SMALLER_STAGES else expected
  assert list(reductions.items()) == [(stage, int(reduction)) for stage, reduction in expected]
  assert all(y.shape[0] == 2 and y.dtype == jnp.float32 for y in maps.values())
  model = abstract_model(name, **options)
  if kind.__name__ in ("FCN", "SegmentationResNet", "DeepLabV3"):
    logits, pixels = traced(model, x), sizes
  else:
    logits = traced(model, last(maps), "logits")
    pixels = last(maps).shape[1:-1] if name == "unet" else ()
  assert logits.shape == (2, *pixels, setting.num_classes) and logits.dtype == jnp.float32

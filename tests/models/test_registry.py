import time

import jax
import numpy as np
import pytest
from flax import nnx

from cnn_zoo.errors import UserError
from cnn_zoo.models import (
  Network,
  abstract_model,
  create_model,
  list_models,
  model_options,
  published_setting,
  registry,
)
from cnn_zoo.models.registry import Setting, register


def test_names_are_sorted_and_taken_once():
  assert list_models() == sorted(set(list_models()))
  assert {"lenet5", "efficientnet_b0", "efficientnet_b7"} <= set(list_models())
  with pytest.raises(ValueError, match="two models are called 'lenet5'"):
    register("lenet5", lambda **_: None)


def test_options():
  assert model_options("lenet5") == {"rank": 2}
  assert model_options("efficientnet_b1") == {
    "rank": 2,
    "width": 1.0,
    "depth": 1.1,
    "dropout_rate": 0.2,
    "stochastic_depth_rate": 0.2,
    "epsilon": 1e-5,
    "remat": False,
  }
  with pytest.raises(UserError, match="did you mean lenet5"):
    model_options("lenet")


@pytest.mark.parametrize(
  ("arguments", "message"),
  [
    ({"name": "efficientnet_b9"}, "model='efficientnet_b9' is not known; did you mean efficientnet_b"),
    ({"name": "nothing like it"}, "valid: alexnet, .*lenet5"),
    ({"name": "efficientnet_b0", "widht": 2.0}, "model efficientnet_b0 has no option 'widht'; did you mean width"),
    (
      {"name": "efficientnet_b0", "xyz": 1},
      "no option 'xyz'; valid: depth, dropout_rate, epsilon, rank, remat, stochastic_depth_rate, width",
    ),
    ({"name": "lenet5", "width": 2.0}, "model lenet5 has no option 'width'; valid: rank"),
    ({"name": "lenet5", "num_classes": 0}, "num_classes=0 must be at least 1"),
    ({"name": "lenet5", "in_channels": -1}, "in_channels=-1 must be at least 1"),
    ({"name": "efficientnet_b0", "dropout_rate": 1.5}, "rate=1.5 of Dropout"),
  ],
)
def test_mistakes(arguments, message):
  with pytest.raises(UserError, match=message):
    abstract_model(**arguments)


def test_none_leaves_the_architectures_own_value():
  model = abstract_model("efficientnet_b2", dropout_rate=None, width=0.5)
  assert model.dropout.rate == 0.3
  assert model.stem.conv.out_features == 16


def test_an_abstract_model_has_the_shapes_of_a_real_one():
  def shapes(model):
    return jax.tree.map(lambda x: (x.shape, x.dtype), nnx.to_pure_dict(nnx.state(model)))

  options = {"width": 0.25, "depth": 0.1, "num_classes": 7, "in_channels": 2}
  real = create_model("efficientnet_b0", rngs=nnx.Rngs(0), **options)
  abstract = abstract_model("efficientnet_b0", **options)
  assert shapes(abstract) == shapes(real)
  assert all(isinstance(x, jax.ShapeDtypeStruct) for x in jax.tree.leaves(nnx.state(abstract)))


def test_an_abstract_model_of_any_size_is_quick():
  start = time.process_time()
  abstract_model("efficientnet_b7")
  assert time.process_time() - start < 4  # 0.6 s alone; nnx.Rngs inside eval_shape would take 5


def test_features_only():
  """The model without its classifier: the same maps, in order, also through `jit`."""
  own, extractor = (create_model("lenet5", features_only=only, rngs=nnx.Rngs(0)) for only in (False, True))
  x = jax.random.normal(jax.random.key(0), (2, 32, 32, 3))
  maps = nnx.jit(lambda model, x: model(x))(extractor, x)
  assert list(maps) == ["s2", "s4", "c5"]
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), maps, own.features(x))
  np.testing.assert_array_equal(own.logits(own.features(x)["c5"]), own(x))
  assert not hasattr(extractor, "output")
  parameters = nnx.state(abstract_model("vgg16", features_only=True), nnx.Param)
  assert sum(p.size for p in jax.tree.leaves(parameters)) == 14_714_688  # without the fully connected layers


class Small(Network):
  def __init__(self, *, num_classes, in_channels, block, width: int = 1, depth: int = 2, dtype, rngs, **block_options):
    super().__init__(num_classes, dtype)


class SmallBlock(nnx.Module):
  def __init__(self, channels, *, gate: str = "relu", rank: int = 2, rngs):
    pass


def test_options_are_those_of_the_class_and_its_block(monkeypatch):
  monkeypatch.setattr(registry, "_MODELS", {})
  register("small", Small, Setting((8, 1), 3), block=SmallBlock, depth=5, defaults={"width": 3})
  assert model_options("small") == {"width": 3, "gate": "relu", "rank": 2}
  assert published_setting("small") == ((8, 1), 3)
  with pytest.raises(ValueError, match="large: Small has no argument dept, widht"):
    register("large", Small, block=SmallBlock, dept=5, defaults={"widht": 3})
  with pytest.raises(ValueError, match="large: no value for layers"):
    register("large", type("Deep", (Small,), {"__init__": lambda self, *, layers, **options: None}), block=SmallBlock)

import time

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from cnn_zoo.convolutions import lowering
from cnn_zoo.errors import UserError
from cnn_zoo.models import abstract_model, create_model, list_models, model_options, published_setting
from cnn_zoo.models.registry import register


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
  assert model.stem.out_features == 16


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


@pytest.mark.parametrize("name", list_models())
def test_what_it_was_published_for_runs(name):
  setting = published_setting(name)
  model = abstract_model(name, num_classes=setting.num_classes, in_channels=setting.input_shape[-1])
  model.eval()
  graph, state = nnx.split(model)
  x = jax.ShapeDtypeStruct((2, *setting.input_shape), jnp.float32)
  with lowering("lax"):
    logits = jax.eval_shape(lambda state, x: nnx.merge(graph, state)(x), state, x)
  pixels = setting.input_shape[:-1] if name.startswith(("unet", "fcn", "deeplab")) else ()
  assert logits.shape == (2, *pixels, setting.num_classes) and logits.dtype == jnp.float32

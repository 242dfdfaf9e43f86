"""Parameters and multiply-adds against published.csv, which PyTorch's own implementations measured."""

import csv
import pathlib

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from cnn_zoo import convolutions, describe
from cnn_zoo.models import abstract_model, published_setting
from tests.helpers.traced import multiply_adds

with open(pathlib.Path(__file__).with_name("published.csv")) as file:
  PUBLISHED = list(csv.DictReader(file))

# What a row's model is called here and which options make it, where that is not its name alone.
OURS = {
  "googlenet_aux": ("googlenet", {"aux_heads": True}),
  "mobilenetv1_100": ("mobilenet_v1", {}),
  "tf_efficientnetv2_xl": ("efficientnet_v2_xl", {}),
}


@pytest.mark.parametrize("row", PUBLISHED, ids=lambda row: row["model"])
def test_parameters_and_multiply_adds(row):
  channels, *sizes = map(int, row["input (CxHxW)"].split("x"))
  name, options = OURS.get(row["model"], (row["model"], {}))
  model = abstract_model(name, num_classes=published_setting(name).num_classes, **options)
  table = describe(model, (*sizes, channels))
  assert table.parameters == int(row["parameters"])
  assert table.multiply_adds == pytest.approx(int(row["multiply_adds"]), rel=1e-3)


@pytest.mark.parametrize(("name", "shape"), [("efficientnet_b0", (224, 224, 3)), ("lenet5", (32, 32, 3))])
def test_multiply_adds_are_those_of_the_traced_program(name, shape):
  model = abstract_model(name)
  model.eval()
  graph, state = nnx.split(model)
  with convolutions.lowering("lax"):
    x = jax.ShapeDtypeStruct((1, *shape), jnp.float32)
    traced = jax.make_jaxpr(lambda state, x: nnx.merge(graph, state)(x))(state, x)
  assert multiply_adds(traced.jaxpr) == describe(model, shape).multiply_adds

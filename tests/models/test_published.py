"""Parameters and multiply-adds against published.csv, which PyTorch's own implementations measured."""

import csv
import math
import pathlib

import jax
import jax.extend
import jax.numpy as jnp
import pytest
from flax import nnx

from cnn_zoo import convolutions, describe
from cnn_zoo.models import abstract_model

with open(pathlib.Path(__file__).with_name("published.csv")) as file:
  PUBLISHED = list(csv.DictReader(file))


@pytest.mark.parametrize("row", PUBLISHED, ids=lambda row: row["model"])
def test_parameters_and_multiply_adds(row):
  channels, *sizes = map(int, row["input (CxHxW)"].split("x"))
  table = describe(abstract_model(row["model"]), (*sizes, channels))
  assert table.parameters == int(row["parameters"])
  assert table.multiply_adds == int(row["multiply_adds"])


def count(jaxpr):
  """Multiply-adds of the convolutions and matrix products in a jaxpr and all that it calls."""
  total = 0
  for equation in jaxpr.eqns:
    output = math.prod(equation.outvars[0].aval.shape)
    if equation.primitive.name == "conv_general_dilated":
      kernel = equation.invars[1].aval.shape
      total += output * math.prod(kernel) // kernel[equation.params["dimension_numbers"].rhs_spec[0]]
    elif equation.primitive.name == "dot_general":
      (contracted, _), _ = equation.params["dimension_numbers"]
      total += output * math.prod(equation.invars[0].aval.shape[axis] for axis in contracted)
    total += sum(count(inner) for inner in jax.extend.core.jaxprs_in_params(equation.params))
  return total


@pytest.mark.parametrize(("name", "shape"), [("efficientnet_b0", (224, 224, 3)), ("lenet5", (32, 32, 3))])
def test_multiply_adds_are_those_of_the_traced_program(name, shape):
  model = abstract_model(name)
  model.eval()
  graph, state = nnx.split(model)
  with convolutions.lowering("lax"):
    x = jax.ShapeDtypeStruct((1, *shape), jnp.float32)
    traced = jax.make_jaxpr(lambda state, x: nnx.merge(graph, state)(x))(state, x)
  assert count(traced.jaxpr) == describe(model, shape).multiply_adds

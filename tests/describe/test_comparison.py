"""The costs of the convolution variants."""

import math

import jax
import pytest
from flax import nnx

from cnn_zoo import create_convolution
from cnn_zoo.describe.comparison import CASES, compare, make, relative

LABELS = ("standard", "spatially separable")


def test_costs():
  """Counted from the weights' shapes; at stride 1 each weight is used once at each of the 1,024 positions."""
  costs = compare()
  assert costs[0].multiply_adds == 32 * 32 * 3 * 3 * 64 * 64
  for case, cost in zip(CASES, costs, strict=True):
    weights = [leaf.size for leaf in jax.tree.leaves(nnx.state(make(case), nnx.Param))]
    assert cost.parameters == sum(weights)
    assert math.prod(cost.input_shape) == 1024 * 64
    if "stride" not in cost.label:
      assert cost.multiply_adds == 1024 * cost.parameters


@pytest.mark.parametrize(("value", "text"), [(1, "1.00"), (5 / 3, "1.67"), (0.25, "0.25"), (1 / 64, "0.016")])
def test_relative(value, text):
  assert relative(value, 1) == text


def costs(name, features, kernel, stride=1, **options):
  layer = nnx.eval_shape(
    lambda: create_convolution(
      name, *features, (kernel,) * 2, strides=stride, use_bias=False, rngs=nnx.Rngs(0), **options
    )
  )
  return layer.parameters(), layer.multiply_adds((1, 12, 12, features[0]))


def test_spatially_separable_between_equally_many_channels():
  """It costs two thirds of the standard convolution."""
  standard, separable = (next(cost for cost in compare() if cost.label == name) for name in LABELS)
  assert 3 * separable.parameters == 2 * standard.parameters
  assert 3 * separable.multiply_adds == 2 * standard.multiply_adds


@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("features", [(8, 8), (8, 16), (16, 8), (8, 24)])
@pytest.mark.parametrize("rank", [None, 4])
def test_the_formulas_of_spatially_separable_layers(features, kernel, stride, rank):
  """Those of docs/convolutions.md: rank (in + out) / (k in out), with a stride s rank (s in + out) / (k in out)."""
  inputs, outputs = features
  parameters, multiply_adds = costs("standard", features, kernel, stride)
  own_parameters, own_multiply_adds = costs("spatially_separable", features, kernel, stride, rank=rank)
  between = outputs if rank is None else rank
  assert own_parameters * kernel * inputs * outputs == parameters * between * (inputs + outputs)
  assert own_multiply_adds * kernel * inputs * outputs == multiply_adds * between * (stride * inputs + outputs)


def test_where_spatially_separable_layers_stop_paying():
  """From out = (k - 1) in on the default costs as much as the standard convolution, and then more."""
  for outputs, sign in ((15, -1), (16, 0), (17, 1)):
    standard, separable = (costs(name, (8, outputs), 3)[0] for name in ("standard", "spatially_separable"))
    assert (separable > standard) - (separable < standard) == sign

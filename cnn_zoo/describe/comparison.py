"""The costs of the convolution variants for the same input, next to each other."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from flax import nnx

from cnn_zoo.convolutions import create_convolution
from cnn_zoo.describe.tables import markdown_table


class Case(NamedTuple):
  """A variant to compare.

  Attributes:
    label: its name in tables and pictures.
    name: of `list_convolutions()`.
    kernel_size: one number for each spatial axis.
    options: more arguments of `create_convolution`.
    sizes: spatial sizes of the input.
  """

  label: str
  name: str
  kernel_size: tuple[int, ...] = (3, 3)
  options: Mapping[str, object] = {}
  sizes: tuple[int, ...] = (32, 32)


FEATURES = 64  # channels of input and output

# All take 64 channels at 1,024 positions and return 64 channels. The costs are relative to the first.
CASES = (
  Case("standard", "standard"),
  Case("standard, stride 2", "standard", options={"strides": 2}),
  Case("grouped, 2 groups", "grouped"),
  Case("pointwise", "pointwise", (1, 1)),
  Case("depthwise", "depthwise"),
  Case("depthwise separable", "depthwise_separable"),
  Case("spatially separable", "spatially_separable"),
  Case("spatially separable, rank 32", "spatially_separable", options={"rank": 32}),
  Case("dilated", "dilated"),
  Case("transposed, stride 2", "transposed", options={"strides": 2}),
  Case("inverted bottleneck", "inverted_bottleneck"),
  Case("1-D causal", "standard", (3,), {"padding": "CAUSAL"}, (1024,)),
  Case("3-D", "standard", (3, 3, 3), sizes=(4, 16, 16)),
  Case("(2+1)-D", "spatially_separable", (3, 3, 3), {"split": "2+1"}, (4, 16, 16)),
)


class Cost(NamedTuple):
  """The cost of a `Case` for one example.

  Attributes:
    label: of the case.
    kernel_size: of the case.
    input_shape: [*spatial, channels].
    output_shape: [*spatial, channels].
    parameters: the number of parameters, without biases.
    multiply_adds: of the forward pass.
  """

  label: str
  kernel_size: tuple[int, ...]
  input_shape: tuple[int, ...]
  output_shape: tuple[int, ...]
  parameters: int
  multiply_adds: int


def make(case: Case) -> nnx.Module:
  """The layer of a case, without biases and abstract (it has shapes instead of numbers).

  >>> make(CASES[0]).parameters()
  36864
  """
  arguments = FEATURES, FEATURES, case.kernel_size
  options = {"use_bias": False, **case.options}
  return nnx.eval_shape(lambda: create_convolution(case.name, *arguments, rngs=nnx.Rngs(0), **options))


def compare() -> list[Cost]:
  """The costs of all `CASES`, the standard convolution first.

  >>> [(cost.label, cost.parameters) for cost in compare()[:2]]
  [('standard', 36864), ('standard, stride 2', 36864)]
  """
  costs = []
  for case in CASES:
    layer: Any = make(case)
    shape = (1, *case.sizes, FEATURES)
    sizes = layer.output_shape(shape)[1:]
    costs.append(Cost(case.label, case.kernel_size, shape[1:], sizes, layer.parameters(), layer.multiply_adds(shape)))
  return costs


def to_markdown(costs: list[Cost]) -> str:
  """A Markdown table with a line for each cost, absolute and relative to the first.

  >>> print(to_markdown(compare()[:1]), end="")
  | convolution | kernel | input    | output   | parameters | relative | multiply-adds | relative |
  |-------------|--------|----------|----------|-----------:|---------:|--------------:|---------:|
  | standard    | 3x3    | 32x32x64 | 32x32x64 |     36,864 |     1.00 |    37,748,736 |     1.00 |
  """
  lines = [["convolution", "kernel", "input", "output", "parameters", "relative", "multiply-adds", "relative"]]
  for cost in costs:
    shapes = ["x".join(map(str, shape)) for shape in cost[1:4]]
    parameters = [f"{cost.parameters:,}", relative(cost.parameters, costs[0].parameters)]
    multiply_adds = [f"{cost.multiply_adds:,}", relative(cost.multiply_adds, costs[0].multiply_adds)]
    lines.append([cost.label, *shapes, *parameters, *multiply_adds])
  return markdown_table(lines, words=4)


def relative(value: int, measure: int) -> str:
  """`value / measure` with two significant digits, or with two decimals from 1 on.

  >>> relative(5, 3), relative(1, 64)
  ('1.67', '0.016')
  """
  ratio = value / measure
  digits = 2 if ratio >= 1 else 1 - math.floor(math.log10(ratio))
  return f"{ratio:.{digits}f}"

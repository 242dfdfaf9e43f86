"""What the convolution variants cost, side by side, for one and the same input."""

import math
from collections.abc import Mapping
from typing import NamedTuple

from flax import nnx

from cnn_zoo.convolutions import create_convolution


class Case(NamedTuple):
  """A variant to compare: the arguments of `create_convolution` besides the features, and the input's spatial sizes."""

  label: str
  name: str
  kernel_size: tuple[int, ...] = (3, 3)
  options: Mapping[str, object] = {}
  sizes: tuple[int, ...] = (32, 32)


IN_FEATURES, OUT_FEATURES = 64, 128

# All see 1,024 positions of 64 channels and, unless they stride, give 1,024 of 128. The first is the measure.
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
  """The shapes [*spatial, channels] of a case's input and output, what it learns, and its multiply-adds."""

  label: str
  kernel_size: tuple[int, ...]
  input_shape: tuple[int, ...]
  output_shape: tuple[int, ...]
  parameters: int
  multiply_adds: int


def make(case: Case) -> nnx.Module:
  """The layer of a case, without biases; abstract (shapes in the place of numbers), as nothing is computed."""
  arguments = IN_FEATURES, OUT_FEATURES, case.kernel_size
  options = {"use_bias": False, **case.options}
  return nnx.eval_shape(lambda: create_convolution(case.name, *arguments, rngs=nnx.Rngs(0), **options))


def compare() -> list[Cost]:
  """The costs of all `CASES` for one example, the standard convolution first."""
  costs = []
  for case in CASES:
    layer, shape = make(case), (1, *case.sizes, IN_FEATURES)
    sizes = layer.output_shape(shape)[1:]
    costs.append(Cost(case.label, case.kernel_size, shape[1:], sizes, layer.parameters(), layer.multiply_adds(shape)))
  return costs


def to_markdown(costs: list[Cost]) -> str:
  """A Markdown table, a line a cost, with what each is relative to the first."""
  head = ["convolution", "kernel", "input", "output", "parameters", "relative", "multiply-adds", "relative"]
  lines = [head, ["---"] * 4 + ["---:"] * 4]
  for cost in costs:
    shapes = ["x".join(map(str, shape)) for shape in cost[1:4]]
    parameters = [f"{cost.parameters:,}", relative(cost.parameters, costs[0].parameters)]
    multiply_adds = [f"{cost.multiply_adds:,}", relative(cost.multiply_adds, costs[0].multiply_adds)]
    lines.append([cost.label, *shapes, *parameters, *multiply_adds])
  return "\n".join("| " + " | ".join(cells) + " |" for cells in lines) + "\n"


def relative(value: int, measure: int) -> str:
  """`value` / `measure` with two significant digits, or two decimals from 1 on."""
  ratio = value / measure
  digits = 2 if ratio >= 1 else 1 - math.floor(math.log10(ratio))
  return f"{ratio:.{digits}f}"

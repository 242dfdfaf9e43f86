"""The layers of a model as a table: what each computes, its parameters and its multiply-adds."""

import csv
import dataclasses
import io
import json
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from cnn_zoo.convolutions import lowering
from cnn_zoo.errors import UserError


@dataclasses.dataclass(frozen=True)
class Row:
  """One layer that has weights of its own.

  Attributes:
    path: where it is in the model, as `blocks.3.expand`.
    type: the name of its class.
    kernel_size, strides: one number a spatial axis; None for what is not a convolution.
    output_shape: for one example, without the batch; None if the layer does not run in evaluation (an auxiliary head).
    parameters: how many numbers are learned in it.
    multiply_adds: for one example, biases left out; 0 for what is neither convolution nor linear layer.
  """

  path: str
  type: str
  kernel_size: tuple[int, ...] | None
  strides: tuple[int, ...] | None
  output_shape: tuple[int, ...] | None
  parameters: int
  multiply_adds: int


@dataclasses.dataclass(frozen=True)
class LayerTable:
  """What `describe` returns; `str` of it is the table as text.

  Attributes:
    model: the name of the model's class.
    input_shape: of one example, [*spatial, channels].
    rows: one per layer that has weights, in the order in which they run; those that do not run come last.
  """

  model: str
  input_shape: tuple[int, ...]
  rows: tuple[Row, ...]

  @property
  def parameters(self) -> int:
    """How many numbers the model learns."""
    return sum(row.parameters for row in self.rows)

  @property
  def multiply_adds(self) -> int:
    """Multiply-adds of convolutions and linear layers for one example, biases left out."""
    return sum(row.multiply_adds for row in self.rows)

  def to_csv(self) -> str:
    """Comma-separated values with a header and plain numbers, one line a layer, without the total."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(field.name for field in dataclasses.fields(Row))
    writer.writerows(_cells(row, "{}") for row in self.rows)
    return text.getvalue()

  def to_json(self) -> str:
    """An object with model, input_shape, parameters, multiply_adds and `layers`, a list of objects as `Row`."""
    table = {
      "model": self.model,
      "input_shape": self.input_shape,
      "parameters": self.parameters,
      "multiply_adds": self.multiply_adds,
      "layers": [dataclasses.asdict(row) for row in self.rows],
    }
    return json.dumps(table, indent=2)

  def to_markdown(self) -> str:
    """A Markdown table whose last line is the total."""
    head, *lines = self._lines()
    rule = ["---"] * 5 + ["---:"] * 2
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (head, rule, *lines)) + "\n"

  def __str__(self) -> str:
    lines = self._lines()
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    lines.insert(1, ["-" * width for width in widths])
    lines.insert(-1, lines[1])
    aligned = (
      [cell.ljust(width) for cell, width in zip(cells[:5], widths[:5], strict=True)]
      + [cell.rjust(width) for cell, width in zip(cells[5:], widths[5:], strict=True)]
      for cells in lines
    )
    title = f"{self.model} for an input of {_shape(self.input_shape)}"
    return "\n".join([title, "", *("  ".join(cells).rstrip() for cells in aligned)])

  def _lines(self):
    head = ["layer", "type", "kernel", "strides", "output", "parameters", "multiply-adds"]
    total = ["total", "", "", "", "", f"{self.parameters:,}", f"{self.multiply_adds:,}"]
    return [head, *(_cells(row, "{:,}") for row in self.rows), total]


def describe(model: nnx.Module, input_shape: Sequence[int]) -> LayerTable:
  """The layers of `model` for one example of `input_shape` [*spatial, channels], in evaluation mode.

  Nothing is computed and the model does not change. It may itself be abstract, the fast way to look at a large one:
  `describe(cnn_zoo.models.abstract_model("efficientnet_b7"), (600, 600, 3))`.

  Raises:
    UserError: if the model does not take inputs of that shape.
  """
  input_shape = tuple(input_shape)
  if not input_shape or min(input_shape) < 1:
    raise UserError(f"input_shape={input_shape} must have sizes of at least 1")
  layers, parameters = _layers_with_parameters(model)
  calls: dict[str, list] = {}  # path -> shapes of its (input, output), once per call
  graph, state = nnx.split(model)

  def run(state, x):
    copy = nnx.merge(graph, state)
    copy.eval()
    _record(copy, calls)
    return copy(x)

  # One lowering for all backends, and the one that is traced fastest.
  with lowering("lax"):
    jax.eval_shape(run, state, jax.ShapeDtypeStruct((1, *input_shape), jnp.float32))
  order = [path for path in calls if path in layers] + [path for path in layers if path not in calls]
  rows = (_row(path, layers[path], parameters[path], calls.get(path, [])) for path in order)
  return LayerTable(type(model).__name__, input_shape, tuple(rows))


def _name(path):
  return ".".join(map(str, path))


def _layers_with_parameters(model):
  """The modules that own parameters and how many, both by path; a parameter that two modules share is counted once."""
  modules = {path: module for path, module in nnx.iter_graph(model) if isinstance(module, nnx.Module)}
  layers, parameters = {}, {}
  for path, node in nnx.iter_graph(model):
    if isinstance(node, nnx.Param):
      owner = next(path[:end] for end in range(len(path) - 1, -1, -1) if path[:end] in modules)
      layers[_name(owner)] = modules[owner]
      parameters[_name(owner)] = parameters.get(_name(owner), 0) + int(np.prod(node.get_value().shape))
  return layers, parameters


def _record(model, calls):
  """Makes every module of `model`, a private copy, note the shapes of its calls under its path."""
  classes = {}
  for path, module in list(nnx.iter_modules(model)):
    kind = type(module)
    if kind not in classes:
      classes[kind] = _recording(kind, calls)
    module.recorded_path = _name(path)
    object.__setattr__(module, "__class__", classes[kind])


def _recording(kind, calls):
  """A subclass of `kind` that differs in that alone."""

  class Recording(kind):
    def __call__(self, x, *args, **kwargs):
      y = super().__call__(x, *args, **kwargs)
      calls.setdefault(self.recorded_path, []).append((jnp.shape(x), getattr(y, "shape", None)))
      return y

  return Recording


def _row(path, layer, parameters, calls):
  counted = hasattr(layer, "multiply_adds")
  output = calls[-1][1] if calls else None
  return Row(
    path=path,
    type=type(layer).__name__,
    kernel_size=getattr(layer, "kernel_size", None),
    strides=getattr(layer, "strides", None),
    output_shape=output and tuple(output[1:]),
    parameters=parameters,
    multiply_adds=sum(layer.multiply_adds(shape) for shape, _ in calls) if counted else 0,
  )


def _shape(shape):
  return "x".join(map(str, shape)) if shape is not None else ""


def _cells(row, number):
  shapes = [_shape(row.kernel_size), _shape(row.strides), _shape(row.output_shape)]
  return [row.path, row.type, *shapes, number.format(row.parameters), number.format(row.multiply_adds)]

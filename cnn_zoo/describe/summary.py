"""The layers of a model as a table: type, sizes, parameters, multiply-adds and receptive field of each."""

import dataclasses
import json
import math
from collections.abc import Sequence

from flax import nnx

from cnn_zoo.describe.tables import csv_table, markdown_table, text_table
from cnn_zoo.describe.tracing import POOLING, path_name, trace
from cnn_zoo.errors import UserError, check_name

ROWS = ("layers", "stages")
"""What a row of the table can stand for."""


@dataclasses.dataclass(frozen=True)
class Row:
  """One line of a `LayerTable`: a layer (a module with weights of its own, or pooling) or a stage (several layers).

  Attributes:
    path: its place in the model, such as `blocks.3.expand`. For pooling, the path of the module around it and the name
      of the pooling function.
    type: the name of its class. For pooling, of its function.
    kernel_size: one number for each spatial axis. For pooling its window, for a stage its largest kernel. None if it
      has no kernel.
    strides: one number for each spatial axis, or None.
    output_shape: of one example, without the batch. None if the layer does not run in evaluation (an auxiliary head).
    depth: the number of convolutions and linear layers on the longest path through it.
    parameters: the number of parameters.
    multiply_adds: for one example, without biases. 0 if it is neither a convolution nor a linear layer.
    receptive_field: for each spatial axis, the size of the window of the input that an element of the output depends
      on. Padding counts, so that it may be larger than the input. Squeeze-and-excitation gates do not
      (`receptive_fields.Walk`).
    activation_bytes: size of the output for one example, in the dtype that it is computed in. For a stage, of the
      outputs of its layers.
  """

  path: str
  type: str
  kernel_size: tuple[int, ...] | None
  strides: tuple[int, ...] | None
  output_shape: tuple[int, ...] | None
  depth: int
  parameters: int
  multiply_adds: int
  receptive_field: tuple[int, ...] | None
  activation_bytes: int


@dataclasses.dataclass(frozen=True)
class LayerTable:
  """The result of `describe`. `str(table)` is the table of layers as text.

  Attributes:
    model: the name of the model's class.
    input_shape: of one example, [*spatial, channels].
    depth: the number of convolutions and linear layers on the longest path to the logits, without gates.
    gated: whether there are gates. They see the whole input and are left out of receptive fields and depth.
    layers: the layers with weights and the pooling, in the order in which they run. Layers that do not run come last.
    stages: the same layers, where successive modules of one class with outputs of one shape make one row.

  Example:
    >>> from cnn_zoo.models import abstract_model
    >>> table = describe(abstract_model("lenet5", in_channels=1), (32, 32, 1))
    >>> [row.path for row in table.layers][:3], table.depth
    (['c1', 'average_pool', 'c3'], 5)
  """

  model: str
  input_shape: tuple[int, ...]
  depth: int
  gated: bool
  layers: tuple[Row, ...]
  stages: tuple[Row, ...]

  @property
  def rows(self) -> tuple[Row, ...]:
    """The layers that have weights, without pooling."""
    return tuple(row for row in self.layers if row.type not in POOLING)

  @property
  def parameters(self) -> int:
    """The number of parameters of the model."""
    return sum(row.parameters for row in self.layers)

  @property
  def multiply_adds(self) -> int:
    """Multiply-adds of convolutions and linear layers for one example, without biases."""
    return sum(row.multiply_adds for row in self.layers)

  @property
  def activation_bytes(self) -> int:
    """Size of the outputs of all layers for one example.

    This is about what training keeps for the backward pass. The true peak depends on what the compiler fuses;
    scripts/benchmark.py reports it.
    """
    return sum(row.activation_bytes for row in self.layers)

  def to_csv(self, rows: str = "layers") -> str:
    """Comma-separated values with a header and plain numbers, without the total. `rows` is "layers" or "stages"."""
    head = [field.name for field in dataclasses.fields(Row)]
    return csv_table([head, *(_cells(row, "{}") for row in self._chosen(rows))])

  def to_json(self, rows: str = "layers") -> str:
    """A JSON object with the model, the input and the totals. Its entry `rows` is a list of objects like `Row`."""
    names = ("model", "input_shape", "depth", "gated", "parameters", "multiply_adds", "activation_bytes")
    table = {name: getattr(self, name) for name in names}
    return json.dumps({**table, rows: [dataclasses.asdict(row) for row in self._chosen(rows)]}, indent=2)

  def to_markdown(self, rows: str = "layers") -> str:
    """A Markdown table whose last line is the total."""
    return markdown_table(self._lines(rows), _WORDS)

  def to_text(self, rows: str = "layers") -> str:
    """A table for a terminal, with the input above it and the total as its last line."""
    title = f"{self.model} for an input of {_shape(self.input_shape)}"
    title += "; depth and receptive field are without gates, which see the whole input" if self.gated else ""
    return f"{title}\n\n{text_table(self._lines(rows), _WORDS, total=True)}"

  def __str__(self) -> str:
    return self.to_text()

  def _chosen(self, rows):
    check_name("rows", rows, ROWS)
    return getattr(self, rows)

  def _lines(self, rows):
    """Header, rows and total as cells."""
    head = [rows.removesuffix("s"), "type", "kernel", "strides", "output", "depth", "parameters", "multiply-adds"]
    head += ["receptive field", "activation bytes"]
    body = [_cells(row, "{:,}") for row in self._chosen(rows)]
    depth, *sums, size = (
      f"{total:,}" for total in (self.depth, self.parameters, self.multiply_adds, self.activation_bytes)
    )
    return [head, *body, ["total", *[""] * (_WORDS - 1), depth, *sums, "", size]]


_WORDS = 5  # columns of words, before those of numbers


def describe(model: nnx.Module, input_shape: Sequence[int]) -> LayerTable:
  """The layers of a model with their costs and receptive fields, in evaluation mode.

  Nothing is computed and the model does not change. It may be abstract, which is the fast way to look at a large one:
  `describe(cnn_zoo.models.abstract_model("efficientnet_b7"), (600, 600, 3))`.

  Args:
    model: any model of this project, or a module made of its layers.
    input_shape: of one example, [*spatial, channels].

  Returns:
    The table. It has `parameters`, `multiply_adds`, one row for each of its `layers` and one for each of its `stages`,
    and prints as text, CSV, JSON and Markdown.

  Raises:
    UserError: if the model does not take inputs of that shape.

  >>> from cnn_zoo.models import abstract_model
  >>> table = describe(abstract_model("lenet5", num_classes=10, in_channels=1), (32, 32, 1))
  >>> table.parameters, table.multiply_adds
  (61706, 416520)
  >>> print(table.to_csv("stages").splitlines()[1])
  c1,Convolution,5x5,1x1,28x28x6,1,156,117600,5x5,18816
  """
  input_shape = tuple(input_shape)
  if not input_shape or min(input_shape) < 1:
    raise UserError(f"input_shape={input_shape} must have sizes of at least 1")
  steps, output = trace(model, input_shape)
  layers = _layers(model, steps)
  return LayerTable(
    model=type(model).__name__,
    input_shape=input_shape,
    depth=output.depth if output else 0,
    gated=bool(output and output.gated),
    layers=layers,
    stages=_stages(steps, layers),
  )


def _layers(model, steps):
  """The rows of `LayerTable.layers`."""
  layers, parameters = _layers_with_parameters(model)
  calls, order = {}, []
  for step in steps:
    if step.type in POOLING:
      order.append(_pooling_row(step))
    elif step.path in layers:
      if step.path not in calls:
        order.append(step.path)
      calls.setdefault(step.path, []).append(step)
  order += [path for path in layers if path not in calls]
  return tuple(
    entry if isinstance(entry, Row) else _layer_row(entry, layers[entry], parameters[entry], calls.get(entry, []))
    for entry in order
  )


def _layers_with_parameters(model):
  """Modules that own parameters, and how many, by path. A parameter that two modules share is counted once."""
  nodes = list(nnx.iter_graph(model))
  modules = {path: module for path, module in nodes if isinstance(module, nnx.Module)}
  layers, parameters = {}, {}
  for path, node in nodes:
    if isinstance(node, nnx.Param):
      owner = next(path[:end] for end in range(len(path) - 1, -1, -1) if path[:end] in modules)
      name = path_name(owner)
      layers[name] = modules[owner]
      parameters[name] = parameters.get(name, 0) + math.prod(node.get_value().shape)
  return layers, parameters


def _layer_row(path, layer, parameters, calls):
  counted = hasattr(layer, "multiply_adds")
  return Row(
    path=path,
    type=type(layer).__name__,
    kernel_size=getattr(layer, "kernel_size", None),
    strides=getattr(layer, "strides", None),
    depth=int(counted),
    parameters=parameters,
    multiply_adds=sum(layer.multiply_adds(call.input_shape) for call in calls) if counted else 0,
    activation_bytes=sum(call.output_bytes for call in calls),
    **_result(calls[-1] if calls else None),
  )


def _pooling_row(step):
  axes = list(zip(step.source.axes, step.view.axes, strict=True))
  window = [(after.width - before.width) / (before.jump or 1) + 1 for before, after in axes]
  placed = any(after.dim is not None for _, after in axes)  # otherwise the whole map is one window
  return Row(
    path=step.path,
    type=step.type,
    kernel_size=tuple(map(round, window)),
    strides=_strides(step.source, step.view) if placed else (1,) * len(axes),
    depth=0,
    parameters=0,
    multiply_adds=0,
    activation_bytes=step.output_bytes,
    **_result(step),
  )


def _result(step):
  """The fields of a row that describe its output."""
  return {
    "output_shape": step and tuple(step.output_shape[1:]),
    "receptive_field": step and step.view and step.view.receptive_field,
  }


def _strides(source, view):
  """The stride along each axis; None if it is not a whole number."""
  axes = zip(source.axes, view.axes, strict=True) if source and view else ()
  ratios = [after.jump / before.jump if before.jump else 0 for before, after in axes]
  return tuple(map(int, ratios)) if ratios and all(ratio >= 1 and ratio % 1 == 0 for ratio in ratios) else None


def _stages(steps, layers):
  """The rows of `LayerTable.stages`: the calls that the model itself makes, then the layers within none of them."""
  left = {row.path: row for row in layers}
  stages = []
  for step in steps:
    if step.outer != "" or not any(_is_within(row.path, step.path) for row in layers):
      continue
    rows = [left.pop(path) for path in list(left) if _is_within(path, step.path)]
    last = stages[-1][0][-1] if stages else None
    # Normalisation belongs to the stage that it normalises.
    if last and step.output_shape == last.output_shape and (step.type == last.type or _only_scales(step)):
      stages[-1][1].extend(rows)
      if step.type == last.type:
        stages[-1][0].append(step)
    else:
      stages.append(([step], rows))
  return (*(_stage_row(*stage) for stage in stages), *left.values())


def _only_scales(step):
  return step.depth == 0 and step.type not in POOLING


def _is_within(path, outer):
  return path == outer or path.startswith(outer + ".")


def _stage_row(steps, rows):
  first, last = steps[0], steps[-1]
  is_pooling = first.type in POOLING
  kernels = [row.kernel_size for row in rows if row.kernel_size and (row.type in POOLING) == is_pooling]
  return Row(
    path=_path_range(first.path, last.path),
    type=first.type if len(steps) == 1 else f"{len(steps)} x {first.type}",
    kernel_size=max(kernels, key=math.prod) if kernels else None,
    strides=rows[0].strides if is_pooling else _strides(first.source, last.view),
    depth=last.view.depth - first.source.depth if last.view and first.source else 0,
    parameters=sum(row.parameters for row in rows),
    multiply_adds=sum(row.multiply_adds for row in rows),
    activation_bytes=sum(row.activation_bytes for row in rows),
    **_result(last),
  )


def _path_range(first, last):
  """`blocks.3` and `blocks.5` as `blocks.3-5`."""
  outer, _, name = last.rpartition(".")
  if first == last:
    return first
  return f"{first}-{name}" if first.rpartition(".")[0] == outer else f"{first}-{last}"


def _shape(shape):
  return "x".join(map(str, shape)) if shape is not None else ""


def _cells(row, number):
  """The fields of a row, in their order, as text."""
  values = (getattr(row, field.name) for field in dataclasses.fields(row))
  return [
    number.format(value) if isinstance(value, int) else value if isinstance(value, str) else _shape(value)
    for value in values
  ]

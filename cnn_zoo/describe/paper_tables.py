"""The tables of architectures in papers, in the papers' own columns, computed from the models.

Every size, number of channels, depth and cost is read from the model. If the computed table equals the printed one, so
does the model. Where a paper counts in its own way, the function says so.
"""

import dataclasses
import itertools
import json
from collections.abc import Callable, Sequence
from typing import Any

from cnn_zoo.describe.summary import describe
from cnn_zoo.describe.tables import csv_table, markdown_table, text_table
from cnn_zoo.describe.tracing import trace
from cnn_zoo.errors import UserError, check_name
from cnn_zoo.models import abstract_model, list_models, model_options, published_setting
from cnn_zoo.models.densenet import SIZES as DENSENETS
from cnn_zoo.models.googlenet import BLOCKS
from cnn_zoo.models.resnet import LAYERS


@dataclasses.dataclass(frozen=True)
class PaperTable:
  """A table of a paper. `str(table)` is the table as text.

  Attributes:
    title: the network, and the paper and number of the table.
    lines: lists of cells. The first is the header.
  """

  title: str
  lines: Sequence[Sequence[str]]

  def to_text(self) -> str:
    """A table for a terminal, below its title."""
    return f"{self.title}\n\n{text_table(self.lines, len(self.lines[0]))}"

  def to_markdown(self) -> str:
    """A Markdown table, without the title."""
    return markdown_table(self.lines, len(self.lines[0]))

  def to_csv(self) -> str:
    """Comma-separated values with a header, without the title."""
    return csv_table(self.lines)

  def to_json(self) -> str:
    """A JSON object with the title, the columns and the rows, which are lists of cells."""
    columns, *rows = self.lines
    return json.dumps({"title": self.title, "columns": columns, "rows": rows}, indent=2)

  def __str__(self) -> str:
    return self.to_text()


def paper_table(name: str) -> PaperTable:
  """The table of a model's paper, computed from the model.

  Args:
    name: a model of `list_models()`. If the table has a column for each size, any of them gives the same table.

  Returns:
    The table, which prints as text, CSV, JSON and Markdown.

  Raises:
    UserError: if the model does not exist or has no such table. The message lists those that have one.

  >>> print(paper_table("mobilenet_v2").to_markdown(), end="")
  | Input          | Operator              | Output         |
  |----------------|-----------------------|----------------|
  | h x w x k      | 1x1 conv2d, ReLU6     | h x w x tk     |
  | h x w x tk     | 3x3 dwconv s=s, ReLU6 | h/s x w/s x tk |
  | h/s x w/s x tk | linear 1x1 conv2d     | h/s x w/s x k' |
  """
  check_name("model", name, list_models())
  if name not in _TABLES:
    raise UserError(f"model={name!r} has no table of its paper; valid: {', '.join(_TABLES)}")
  return _TABLES[name]()


def _build(name, **options):
  """The published model, and the rows of `describe` by the part of the model that they are in.

  A part is an attribute of the model, or an element of an attribute that is a list.
  """
  setting = published_setting(name)
  model = abstract_model(name, num_classes=setting.num_classes, in_channels=setting.input_shape[-1], **options)

  def part(row):
    first, _, rest = row.path.partition(".")
    return f"{first}.{rest.partition('.')[0]}" if rest[:1].isdigit() else first

  rows = describe(model, setting.input_shape).layers
  return model, {name: list(group) for name, group in itertools.groupby(rows, part)}


def _by(sizes):
  return "x".join(map(str, sizes))


def _output_size(shape):
  """Height, width and channels. An axis that was reduced has size 1."""
  return (1, 1, *shape)[-3:]


def _map_size(row):
  return _by(_output_size(row.output_shape)[:-1])


def _strided(row, text):
  """A layer in the form `7x7 conv, stride 2`."""
  stride = f", stride {row.strides[0]}" if row.strides[0] > 1 else ""
  return f"{_by(row.kernel_size)}{text}{stride}"


def _repeated(blocks):
  """A stage of equal blocks in the form `[...] x 3`."""
  (block,) = set(blocks)
  return f"[{block}] x {len(blocks)}"


def _once(label, size, cells):
  """A line whose one cell is the same for all sizes."""
  (cell,) = set(cells)
  return [label, size, cell, *[""] * (len(cells) - 1)]


_GOOGLENET_BRANCHES = {
  "#1x1": "conv_1x1",
  "#3x3 reduce": "reduce_3x3",
  "#3x3": "conv_3x3",
  "#5x5 reduce": "reduce_5x5",
  "#5x5": "conv_5x5",
  "pool proj": "projection",
}


def _googlenet():
  """Szegedy et al. 2014, Table 1.

  The first convolution is the separable one, which has the printed 2.7K parameters and 34M operations and counts as one
  layer. A K is 1,024 parameters, with biases. The printed parameters of inception blocks differ by up to 8% from those
  that follow from the printed channels, and the operations of (5a) by 6%.
  """
  model, parts = _build("googlenet_paper", stem="separable")
  steps = {step.path: step for step in trace(model, published_setting("googlenet_paper").input_shape)[0]}
  names = dict(zip((f"blocks.{i}" for i in range(len(BLOCKS))), BLOCKS, strict=True))
  lines = [["type", "patch size/stride", "output size", "depth", *_GOOGLENET_BRANCHES, "params", "ops"]]

  def add(kind, part, depth, *, patch="", rows=(), **channels):
    size = _by(_output_size(steps[part].output_shape[1:]))
    params, ops = sum(row.parameters for row in rows) / 1024, sum(row.multiply_adds for row in rows) / 1e6
    costs = [f"{params:.{int(params < 10)}f}K", f"{ops:.0f}M"] if rows else ["", ""]
    branches = [str(channels.get(branch, "")) for branch in _GOOGLENET_BRANCHES.values()]
    lines.append([kind, patch, size, str(depth), *branches, *costs])

  def patch(rows):
    row = max(rows, key=lambda row: row.kernel_size)
    return f"{_by(row.kernel_size)}/{row.strides[0]}"

  for part, rows in parts.items():
    if part in names:
      channels = {row.path.split(".")[2]: row.output_shape[-1] for row in rows}
      add(f"inception ({names[part]})", part, steps[part].depth, rows=rows, **channels)
    elif rows[0].type == "max_pool":
      add("max pool", part, 0, patch=patch(rows))
    elif rows[0].type == "global_average_pool":
      add("avg pool", part, 0, patch=patch(rows))
      add(f"dropout ({model.dropout.rate:.0%})", part, 0)
    elif part == "conv1":
      add("convolution", part, 1, patch=patch(rows), rows=rows)
    elif part == "conv3":  # conv2 is the reduction before it
      channels = {"reduce_3x3": steps["conv2"].output_shape[-1], "conv_3x3": steps[part].output_shape[-1]}
      add("convolution", part, 2, patch=patch(rows), rows=[*parts["conv2"], *rows], **channels)
    elif part == "classifier":
      add("linear", part, steps[part].depth, rows=rows)
      add("softmax", part, 0)  # here it belongs to the loss
  return PaperTable("GoogLeNet (Szegedy et al. 2014, Table 1)", lines)


def _resnet():
  """He et al. 2015, Table 1.

  As in the paper, bottlenecks stride in their first convolution, and the shortcuts of 18 and 34 layers have no
  parameters (option A), so that projections are left out there. 50 layers take 3.86x10^9 multiply-adds; the paper
  prints 3.8.
  """
  sizes = []
  for depth in LAYERS:
    bottleneck = "stride_in" in model_options(f"resnet{depth}")
    _, parts = _build(f"resnet{depth}", **({"stride_in": "1x1"} if bottleneck else {}))
    sizes.append(
      {part: [r for r in rows if bottleneck or ".projection." not in r.path] for part, rows in parts.items()}
    )

  def conv(row):
    return f"{_by(row.kernel_size)}, {row.output_shape[-1]}"

  def blocks(rows):
    convolutions = [row for row in rows if row.type == "Convolution" and ".projection." not in row.path]
    by_block = itertools.groupby(convolutions, lambda row: row.path.split(".")[2])
    return _repeated(["; ".join(map(conv, block)) for _, block in by_block])

  first = sizes[0]
  stems, pools, heads = ([parts[name][0] for parts in sizes] for name in ("stem", "max_pool", "classifier"))
  lines = [
    ["layer name", "output size", *(f"{depth}-layer" for depth in LAYERS)],
    _once("conv1", _map_size(stems[0]), [_strided(row, f", {row.output_shape[-1]}") for row in stems]),
    _once("conv2_x", _map_size(pools[0]), [_strided(row, " max pool") for row in pools]),
  ]
  for number, stage in enumerate((part for part in first if part.startswith("stages.")), start=2):
    label = [f"conv{number}_x", _map_size(first[stage][-1])] if number > 2 else ["", ""]
    lines.append([*label, *(blocks(parts[stage]) for parts in sizes)])
  classes = [f"average pool, {row.output_shape[-1]}-d fc, softmax" for row in heads]
  lines.append(_once("", _map_size(first["global_average_pool"][0]), classes))
  totals = (sum(row.multiply_adds for rows in parts.values() for row in rows) for parts in sizes)
  lines.append(["FLOPs", "", *(f"{total / 1e9:.1f}x10^9" for total in totals)])
  return PaperTable("ResNet (He et al. 2015, Table 1)", lines)


def _densenet():
  """Huang et al. 2017, Table 1. The first size is traced; the dense blocks of all sizes are read from their modules."""
  smallest, *others = DENSENETS
  model, parts = _build(smallest)
  models: dict[str, Any] = {smallest: model, **{name: abstract_model(name) for name in others}}
  lines = [["Layers", "Output Size"]]
  for name, model in models.items():
    growth_rate = model.blocks[0].layers[0].conv2.out_features
    lines[0].append(f"{name.replace('densenet', 'DenseNet-')} (k = {growth_rate})")

  def across(label, row, text):
    lines.append(_once(label, _map_size(row), [text] * len(models)))

  def dense_block(layers):
    return _repeated(["; ".join(_strided(conv, " conv") for conv in (layer.conv1, layer.conv2)) for layer in layers])

  stem, pool = parts["stem"][0], parts["max_pool"][0]
  across("Convolution", stem, _strided(stem, " conv"))
  across("Pooling", pool, _strided(pool, " max pool"))
  for number in range(sum(part.startswith("blocks.") for part in parts)):
    blocks = [dense_block(model.blocks[number].layers) for model in models.values()]
    lines.append([f"Dense Block ({number + 1})", _map_size(parts[f"blocks.{number}"][-1]), *blocks])
    if f"transitions.{number}" in parts:
      _, conv, pool = parts[f"transitions.{number}"]
      across(f"Transition Layer ({number + 1})", conv, _strided(conv, " conv"))
      across("", pool, _strided(pool, " average pool"))
  pool, head = parts["global_average_pool"][0], parts["classifier"][0]
  across("Classification Layer", pool, _strided(pool, " global average pool"))
  lines.append(_once("", "", [f"{head.output_shape[-1]}D fully-connected, softmax"] * len(models)))
  return PaperTable("DenseNet (Huang et al. 2017, Table 1)", lines)


def _efficientnet():
  """Tan and Le 2019, Table 1: each stage with the resolution of its input."""
  _, parts = _build("efficientnet_b0")
  stem, head = parts["stem"][0], parts["head"][0]
  resolution = _by(published_setting("efficientnet_b0").input_shape[:-1])
  stages = [[f"Conv{_by(stem.kernel_size)}", resolution, str(stem.output_shape[-1]), "1"]]
  blocks = [rows for part, rows in parts.items() if part.startswith("blocks.")]
  layers = [{row.path.split(".")[2]: row for row in rows if row.type == "Convolution"} for rows in blocks]
  before = stem
  for shape, stage in itertools.groupby(layers, lambda layer: layer["project"].output_shape):
    first, *others = stage
    expansion = first["depthwise"].output_shape[-1] // before.output_shape[-1]
    operator = f"MBConv{expansion}, k{_by(first['depthwise'].kernel_size)}"
    stages.append([operator, _map_size(before), str(shape[-1]), str(1 + len(others))])
    before = first["project"]
  operator = f"Conv{_by(head.kernel_size)} & Pooling & FC"
  stages.append([operator, _map_size(before), str(head.output_shape[-1]), "1"])
  numbered = [[str(number), *stage] for number, stage in enumerate(stages, start=1)]
  columns = ["Stage", "Operator", "Resolution", "#Channels", "#Layers"]
  return PaperTable("EfficientNet-B0 (Tan and Le 2019, Table 1)", [columns, *numbered])


def _mobilenet_v2():
  """Sandler et al. 2018, Table 1, of the network's first block with an expansion and a stride.

  Sizes have the paper's names: h and w before the stride s, k and k' channels before and after the block, and tk
  channels in between, where t is the expansion.
  """
  model: Any = abstract_model("mobilenet_v2")
  block = next(b for b in model.blocks if len(b.convolutions) == 3 and b.convolutions[1].strides[0] > 1)
  expand, depthwise, project = block.convolutions
  stride = depthwise.strides[0]
  shape = (8 * stride, 8 * stride, expand.in_features)
  spatial = {8 * stride: ("h", "w"), 8: ("h/s", "w/s")}
  channels = {expand.in_features: "k", expand.out_features: "tk", project.out_features: "k'"}

  def named(shape):
    return " x ".join([spatial[shape[0]][0], spatial[shape[1]][1], channels[shape[2]]])

  rows = [row for row in describe(block, shape).rows if row.type == "Convolution"]
  lines = [["Input", "Operator", "Output"]]
  for row, layer, activation in zip(rows, block.convolutions, block.activations, strict=True):
    kind = "dwconv s=s" if layer.groups == layer.in_features else "conv2d"
    operator = f"{_by(row.kernel_size)} {kind}"
    after = activation and activation.__name__.replace("relu", "ReLU")
    lines.append([named(shape), f"{operator}, {after}" if after else f"linear {operator}", named(row.output_shape)])
    shape = row.output_shape
  return PaperTable("MobileNetV2's bottleneck block (Sandler et al. 2018, Table 1)", lines)


_TABLES: dict[str, Callable[[], PaperTable]] = {
  "googlenet_paper": _googlenet,
  **{f"resnet{depth}": _resnet for depth in LAYERS},
  **dict.fromkeys(DENSENETS, _densenet),
  "mobilenet_v2": _mobilenet_v2,
  "efficientnet_b0": _efficientnet,
}

"""The pictures of docs/convolutions.md. Which cells are coloured is computed from the layers."""

import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx
from matplotlib.figure import Figure

from cnn_zoo.convolutions import create_convolution, separate
from cnn_zoo.describe.comparison import CASES, FEATURES, compare, make, relative
from cnn_zoo.describe.footprints import averaging, reach, reach_centre
from cnn_zoo.plots.grids import as_text, count_colours, draw_cells, draw_sign
from cnn_zoo.plots.style import (
  BLUE,
  EMPTY,
  FAINT,
  GREEN,
  INK,
  ORANGE,
  PURPLE,
  SMALL,
  hide_frame,
  new_figure,
  picture_style,
  save_picture,
)

INPUT, BETWEEN, OUTPUT, OTHER = BLUE, GREEN, ORANGE, PURPLE
CHANNELS = 6  # of the layers in `_steps`


def draw_convolutions(folder: Path) -> Iterator[Path]:
  """Draws every picture of `PICTURES`.

  Args:
    folder: to draw into. It is made if need be.

  Yields:
    The path of each picture when it is written.

  Raises:
    UserError: if the folder cannot be written.

  Example:
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...   next(draw_convolutions(Path(folder))).name
    'standard.png'
  """
  for name, draw in PICTURES.items():
    path = folder / f"{name}.png"
    with picture_style():
      save_picture(draw(), path)
    yield path


def depthwise_separable() -> Figure:
  """The depthwise step, the pointwise step, and what both together reach."""
  both = _layer("depthwise_separable", (3, 3), CHANNELS, CHANNELS)
  first, second = both.convolutions
  rows = [
    ("1. depthwise", first, INPUT, BETWEEN),
    ("2. pointwise", second, BETWEEN, OUTPUT),
    ("both", both, INPUT, OUTPUT),
  ]
  return _steps(rows)


def spatially_separable() -> Figure:
  """Sobel's kernel as a column times a row, and an image filtered by both and by the kernel."""
  from sklearn.datasets import load_sample_image

  sobel = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]])
  column, row = separate(sobel, rank=1).factors
  both = _layer("spatially_separable", (3, 3), rank=1, padding="VALID")
  once = _layer("standard", (3, 3), padding="VALID")
  for layer, kernel in zip((*both.convolutions, once), (column, row, sobel), strict=True):
    _set_kernel(layer, kernel)
  photo = load_sample_image("china.jpg").mean(-1)[70:310, 200:560]
  photo = photo.reshape(80, 3, 120, 3).mean((1, 3)).round()[None, :, :, None].astype(np.float32)
  by_column, by_both, by_sobel = both.convolutions[0](photo), both(photo), once(photo)

  figure = new_figure(6.6)
  halves: Any = figure.subfigures(2, 1, height_ratios=(1, 4))
  above, below = halves
  kernels = {
    "Sobel's kernel: 9 products": sobel,
    "=": None,
    "column: 3 products": column,
    "x": None,
    "row: 3 products": row,
  }
  axes = above.subplots(1, 5, width_ratios=(3, 1, 3, 1, 3))
  for axis, (title, kernel) in zip(axes, kernels.items(), strict=True):
    if kernel is None:
      draw_sign(axis, title)
    else:
      draw_cells(axis, np.full(kernel.shape, EMPTY), as_text(kernel), frame=(3, 3))
      axis.set_title(title)
  pictures = {
    "image": photo,
    "filtered by the column": by_column,
    "then by the row": by_both,
    f"by Sobel's kernel at once (largest difference {abs(by_both - by_sobel).max():.3f})": by_sobel,
  }
  for axis, (title, picture) in zip(below.subplots(2, 2).flat, pictures.items(), strict=True):
    most = abs(picture).max()
    axis.imshow(picture[0, :, :, 0], cmap="gray", vmin=min(0, np.sign(picture.min()) * most), vmax=most)
    axis.set_title(title)
    axis.set_axis_off()
  return figure


def dilated() -> Figure:
  """The inputs of one output for dilations 1, 2 and 4, and for stacks of layers."""
  stacks = [(1,), (2,), (4,), (1, 2), (1, 2, 4), (2, 2, 2)]
  figure = new_figure(5.7)
  for axis, stack in zip(figure.subplots(2, 3).flat, stacks, strict=True):
    layers = nnx.Sequential(*(_layer("dilated", (3, 3), dilation=dilation) for dilation in stack))
    footprint = reach_centre(layers, (17, 17, 1))[0, :, :, 0]
    draw_cells(axis, np.where(footprint, INPUT, EMPTY))
    axis.plot(8, 8, "o", color=OUTPUT, ms=5)
    extent = np.ptp(np.flatnonzero(footprint.any(0))) + 1
    what = f"dilation {stack[0]}" if len(stack) == 1 else "dilations " + ", then ".join(map(str, stack))
    axis.set_title(f"{what}\n{footprint.sum()} inputs in {extent} x {extent}")
  return figure


def transposed() -> Figure:
  """The outputs that each of four inputs adds to, their sum, and how many inputs reach each output."""
  layer = _layer("transposed", (3, 3), strides=2, padding="VALID")
  kernel = np.array([[1, 2, 1], [2, 4, 2], [1, 2, 1]])
  _set_kernel(layer, kernel)
  x = np.array([[1, 2], [3, 4]], np.float32)
  tints = [INPUT, BETWEEN, OUTPUT, OTHER]
  reached = reach(layer, (2, 2, 1)).reshape(5, 5, 4)  # [output row, output column, input]
  meet = reached.sum(-1)
  figure = new_figure(4.1)
  top, bottom = figure.subplots(2, 7, width_ratios=(5, 1, 5, 1, 5, 1, 5))
  draw_cells(top[0], np.array(tints).reshape(2, 2), as_text(x), frame=(5, 5))
  draw_cells(top[2], np.full((3, 3), EMPTY), as_text(kernel), frame=(5, 5))
  draw_cells(top[4], count_colours(meet), as_text(layer(x[None, :, :, None])[0, :, :, 0]))
  draw_cells(top[6], count_colours(meet), as_text(meet))
  for axis, title in zip(top[::2], ("input", "kernel", "output, stride 2", "inputs per output"), strict=True):
    axis.set_title(title)
  for axis, sign in zip((*top[1::2], *bottom[1::2]), "*= +++", strict=True):
    draw_sign(axis, sign)
  for i, (axis, tint) in enumerate(zip(bottom[::2], tints, strict=True)):
    stamp = layer((x * (np.arange(4).reshape(2, 2) == i))[None, :, :, None])[0, :, :, 0]
    draw_cells(axis, np.where(reached[..., i], tint, EMPTY), np.where(reached[..., i], as_text(stamp), ""))
    axis.set_title(f"{int(x.flat[i])} x kernel")
  return figure


def checkerboard() -> Figure:
  """How many inputs reach each output of three ways to upsample, and a digit upsampled with equal weights."""
  from sklearn.datasets import load_digits

  digit = load_digits().images[0][None, :, :, None].astype(np.float32)
  convolution = _layer("standard", (3, 3))
  ways = {
    "transposed, 3 x 3, stride 2": _layer("transposed", (3, 3), strides=2),
    "transposed, 4 x 4, stride 2": _layer("transposed", (4, 4), strides=2),
    "resize, then convolution 3 x 3": lambda x: convolution(x.repeat(2, 1).repeat(2, 2)),
  }
  figure = new_figure(5.6)
  for (title, way), (above, below) in zip(ways.items(), figure.subplots(2, 3).T, strict=True):
    counts = reach(way, (4, 4, 1)).sum((2, 3, 4, 5))
    draw_cells(above, count_colours(counts), as_text(counts))
    above.set_title(f"{title}\ninputs that reach each output")
    below.imshow(way(digit)[0, :, :, 0], cmap="gray")
    below.set_title("a digit, with equal weights")
    below.set_axis_off()
  return figure


def inverted_bottleneck() -> Figure:
  """The channels before and after each step as bars, with the weights and multiply-adds of the step between them."""
  case = next(case for case in CASES if case.name == "inverted_bottleneck")
  layer: Any = make(case)
  steps, shape = layer.convolutions, (1, *case.sizes, FEATURES)
  widths = np.array([FEATURES, *(step.out_features for step in steps)])
  figure = new_figure(3.2)
  axis = figure.subplots()
  axis.bar(range(len(widths)), widths, width=0.26, color=[INPUT, BETWEEN, BETWEEN, OUTPUT], bottom=-widths / 2)
  for i, width in enumerate(widths):
    axis.text(i, width / 2 + 6, f"{width} channels", ha="center", va="bottom")
  for i, step in enumerate(steps):
    kind = ("depthwise " if step.groups > 1 else "") + " x ".join(map(str, step.kernel_size))
    cost = f"{step.parameters():,} weights\n{step.multiply_adds(shape) / 1e6:.1f} M multiply-adds"
    shape = step.output_shape(shape)
    axis.annotate("", (i + 0.84, 0), (i + 0.16, 0), arrowprops={"arrowstyle": "-|>", "color": INK})
    axis.text(i + 0.5, 12, kind, ha="center", va="bottom", fontweight="bold")
    axis.text(i + 0.5, -14, cost, ha="center", va="top", fontsize=SMALL)
  axis.set(ylim=(-200, 225))
  axis.set_axis_off()
  return figure


def causal() -> Figure:
  """The times that reach an output of a symmetric convolution, a causal one, and a stack of dilated causal ones."""
  figure = new_figure(4.4)
  panels = figure.subplot_mosaic([["same", "causal"], ["stack", "stack"]], height_ratios=(1, 2.2))
  _connections(panels["same"], [_layer("standard", (3,))], 8, 4)
  panels["same"].set_title('padding="SAME": one input of the future')
  _connections(panels["causal"], [_layer("standard", (3,), padding="CAUSAL")], 8, 4)
  panels["causal"].set_title('padding="CAUSAL": the present and the past')
  stack = [_layer("dilated", (2,), padding="CAUSAL", dilation=dilation) for dilation in (1, 2, 4)]
  seen = _connections(panels["stack"], stack, 16, 15)
  panels["stack"].set_title(f"causal, kernel 2, dilations 1, 2, 4: {seen} inputs reach the last output")
  return figure


def video() -> Figure:
  """The inputs in five frames of one output of a 3-D convolution, and of the two steps of a (2+1)-D one."""
  both = _layer("spatially_separable", (3, 3, 3), split="2+1")
  space, time = both.convolutions
  rows = [
    ("3-D\n3 x 3 x 3", _layer("standard", (3, 3, 3)), INPUT, OUTPUT),
    ("(2+1)-D, first\n1 x 3 x 3", space, INPUT, BETWEEN),
    ("(2+1)-D, then\n3 x 1 x 1", time, BETWEEN, OUTPUT),
    ("(2+1)-D\nboth", both, INPUT, OUTPUT),
  ]
  figure = new_figure(6.4)
  axes = figure.subplots(len(rows), 5)
  for (title, layer, colour_in, colour_out), line in zip(rows, axes, strict=True):
    footprint = reach_centre(layer, (5, 5, 5, 1))[0, ..., 0]
    for frame, axis in zip(footprint, line, strict=True):
      draw_cells(axis, np.where(frame, colour_in, EMPTY))
    line[2].plot(2, 2, "o", color=colour_out, mec="white", ms=8)
    line[0].set_ylabel(f"{title}\n{footprint.sum()} inputs")
  for axis, time in zip(axes[0], ("t - 2", "t - 1", "t", "t + 1", "t + 2"), strict=True):
    axis.set_title(f"frame {time}")
  return figure


def summary() -> Figure:
  """Parameters and multiply-adds of every variant relative to the standard convolution."""
  costs = compare()
  rows = np.arange(len(costs))
  figure = new_figure(5.6)
  axis = figure.subplots()
  for offset, colour, label in ((-0.2, INPUT, "parameters"), (0.2, OUTPUT, "multiply-adds")):
    values = [getattr(cost, label.replace("-", "_")) for cost in costs]
    bars = axis.barh(rows + offset, [v / values[0] for v in values], 0.38, color=colour, label=label)
    axis.bar_label(bars, [relative(v, values[0]) for v in values], padding=3, fontsize=SMALL)
  axis.axvline(1, color=INK, lw=0.8, ls=":", zorder=0)
  axis.set_yticks(rows, [cost.label for cost in costs])
  axis.set(xlabel="relative to the standard convolution", xlim=(0, 3.3), ylim=(len(costs) - 0.4, -0.6))
  hide_frame(axis)
  axis.legend(frameon=False, loc="upper right")
  return figure


def _one_step(name, kernel_size):
  """A marked output, the inputs that reach it, and the taps between channels."""
  return _steps([("", _layer(name, kernel_size, CHANNELS, CHANNELS), INPUT, OUTPUT)])


PICTURES: dict[str, Callable[[], Figure]] = {
  "standard": functools.partial(_one_step, "standard", (3, 3)),
  "grouped": functools.partial(_one_step, "grouped", (3, 3)),
  "pointwise": functools.partial(_one_step, "pointwise", (1, 1)),
  "depthwise": functools.partial(_one_step, "depthwise", (3, 3)),
  "depthwise_separable": depthwise_separable,
  "spatially_separable": spatially_separable,
  "dilated": dilated,
  "transposed": transposed,
  "checkerboard": checkerboard,
  "inverted_bottleneck": inverted_bottleneck,
  "causal": causal,
  "video": video,
  "summary": summary,
}
"""The functions that draw the pictures, by the name of the file."""


def _layer(name, kernel_size, in_features=1, out_features=1, **options):
  """A variant without biases whose kernels compute averages."""
  return averaging(
    create_convolution(name, in_features, out_features, kernel_size, use_bias=False, rngs=nnx.Rngs(0), **options)
  )


def _set_kernel(layer, kernel):
  layer.kernel[...] = jnp.asarray(kernel, jnp.float32)[..., None, None]


def _steps(rows):
  """A line for each (title, layer, colour of its inputs, colour of its outputs)."""
  figure = new_figure(2.75 * len(rows))
  axes = figure.subplots(len(rows), 4, squeeze=False, width_ratios=(7, 1, 7, 8))
  for (title, layer, colour_in, colour_out), (left, arrow, middle, right) in zip(rows, axes, strict=True):
    reached = reach_centre(layer, (7, 7, CHANNELS))  # [output channel, row, column, input channel]
    footprint, taps = reached.any((0, 3)), reached.sum((1, 2)).T
    draw_cells(left, np.where(footprint, colour_in, EMPTY))
    left.set_title(f"{footprint.sum()} input position{'' if footprint.sum() == 1 else 's'}")
    left.set_ylabel(title, fontweight="bold")
    draw_sign(arrow, "→")
    marked = np.full((7, 7), EMPTY)
    marked[3, 3] = colour_out
    draw_cells(middle, marked)
    middle.set_title("one output position")
    draw_cells(right, np.where(taps > 0, colour_in, EMPTY), np.where(taps > 0, taps.astype(str), ""), frame=(7, 7))
    right.set_title(f"{taps.sum()} taps, {layer.parameters()} weights")
    right.set_xlabel(f"{taps.shape[1]} output channels")
    right.text(-0.8, 2.5, f"{CHANNELS} input channels", rotation="vertical", ha="right", va="center")
  return figure


def _connections(axis, layers, length, marked):
  """Nodes for each layer and time, and lines where one reaches the next. Returns how many inputs reach `marked`."""

  def nodes(level, lit, colour):
    axis.scatter(range(length), [level] * length, s=70, c=np.where(lit, colour, EMPTY), edgecolors=FAINT, zorder=3)

  lit = np.arange(length) == marked
  for level in range(len(layers), 0, -1):
    nodes(level, lit, OUTPUT if level == len(layers) else BETWEEN)
    reached = reach(layers[level - 1], (length, 1))[:, 0, :, 0]
    for target, source in np.argwhere(reached):
      line = {"color": INPUT, "lw": 1.6, "zorder": 2} if lit[target] else {"color": FAINT, "lw": 0.6, "zorder": 1}
      axis.plot((source, target), (level - 1, level), **line)
    lit = reached[lit].any(0)
  nodes(0, lit, INPUT)
  axis.text(-0.8, 0, "input", ha="right", va="center")
  axis.text(-0.8, len(layers), "output", ha="right", va="center")
  axis.text(length - 1, -0.42, "time →", ha="right", va="top")
  axis.set(xlim=(-2.4, length - 0.5), ylim=(-0.75, len(layers) + 0.35))
  axis.set_axis_off()
  return int(lit.sum())

"""The view of an operation's results from the views of its operands, one rule for each JAX primitive.

Convolutions and pooling widen what a value sees, slices and padding shift it, and reductions see all that they reduce.
A rule takes an equation of a jaxpr and the views of its operands, and returns the views of its results. `None` stands
for a value that does not depend on the input. What is elementwise needs no rule: `receptive_fields.Walk` unites the
operands.
"""

import itertools
import math
from fractions import Fraction
from typing import Any

import numpy as np

from cnn_zoo.describe.views import Axis, everything, moved, renumbered, unite, unite_axes


def resized(equation, view, method):
  """The view of the result of `cnn_zoo.layers.resize`, however it is computed."""
  before, after = equation.invars[0].aval.shape, equation.outvars[0].aval.shape

  def move(axis):
    n, m = before[axis.dim], after[axis.dim]
    if n == m:
      return axis
    place = ((np.arange(m) + 0.5) * n / m - 0.5).clip(0, n - 1)
    low, high = (np.floor(place + 0.5),) * 2 if method == "nearest" else (np.floor(place), np.ceil(place))
    first, _ = axis.at(low.astype(int))
    _, last = axis.at(high.astype(int))
    return Axis(axis.dim, first, last, axis.jump * Fraction(n, m))

  return moved(view, move)


def _windowed(axis, count, size, stride=1, before=0, dilation=1, base=1):
  """What `count` windows of `size` taps see along an axis with `before` elements of padding at its beginning.

  `base` is the distance between the axis' elements, which have zeros between them, as in a transposed convolution.
  """
  taps = np.arange(count)[:, None] * stride - before + np.arange(size) * dilation
  index, between = np.divmod(taps, base)
  first, last = axis.at(index)
  if base > 1:
    first, last = np.where(between, np.inf, first), np.where(between, -np.inf, last)
  return Axis(axis.dim, first.min(1), last.max(1), axis.jump * stride / base)


def _convolution(equation, views):
  p, shape, kernel = equation.params, equation.outvars[0].aval.shape, equation.invars[1].aval.shape
  numbers = p["dimension_numbers"]
  spatial = {dim: i for i, dim in enumerate(numbers.lhs_spec[2:])}

  def move(axis):
    if axis.dim not in spatial:
      return axis.everywhere()
    i = spatial[axis.dim]
    to, size = numbers.out_spec[2 + i], kernel[numbers.rhs_spec[2 + i]]
    geometry = p["window_strides"][i], p["padding"][i][0], p["rhs_dilation"][i], p["lhs_dilation"][i]
    return _windowed(axis, shape[to], size, *geometry)._replace(dim=to)

  return [_product(moved(views[0], move), everything(views[1:]))]


def _product(*views):
  """The view of a product, which counts as a layer if one of its factors does not depend on the input."""
  view: Any = unite(views)
  return view._replace(depth=view.depth + (None in views))


def _dot(equation, views):
  contracted, batched = equation.params["dimension_numbers"]
  factors, free = [], len(batched[0])  # the result's dimensions: the batch, the free ones of one factor, of the other
  for variable, view, gone, batch in zip(equation.invars, views, contracted, batched, strict=True):
    rest = [d for d in range(len(variable.aval.shape)) if d not in (*gone, *batch)]
    places = {d: i for i, d in enumerate(batch)} | {d: free + i for i, d in enumerate(rest)}
    free += len(rest)
    factors.append(renumbered(view, places))
  return [_product(*factors)]


def _reduce_window(equation, views):
  p, shape = equation.params, equation.outvars[0].aval.shape

  def move(axis):
    d = axis.dim
    geometry = p["window_strides"][d], p["padding"][d][0], p["window_dilation"][d], p["base_dilation"][d]
    return _windowed(axis, shape[d], p["window_dimensions"][d], *geometry)

  return [moved(views[0], move)]


def _pad(equation, views):
  configuration, shape = equation.params["padding_config"], equation.outvars[0].aval.shape

  def move(axis):
    low, _, interior = configuration[axis.dim]
    return _windowed(axis, shape[axis.dim], 1, before=low, base=interior + 1)

  return [moved(views[0], move)]


def _slice(equation, views):
  p, shape = equation.params, equation.outvars[0].aval.shape

  def move(axis):
    d = axis.dim
    return _windowed(axis, shape[d], 1, p["strides"][d] if p["strides"] else 1, -p["start_indices"][d])

  return [moved(views[0], move)]


def _split(equation, views):
  dim, starts = equation.params["axis"], itertools.accumulate(equation.params["sizes"], initial=0)

  def part(start, size):
    return moved(views[0], lambda axis: _windowed(axis, size, 1, before=-start) if axis.dim == dim else axis)

  return [part(start, size) for start, size in zip(starts, equation.params["sizes"], strict=False)]


def _reverse(equation, views):
  dims = equation.params["dimensions"]

  def move(axis):
    return Axis(axis.dim, axis.first[::-1], axis.last[::-1], -axis.jump) if axis.dim in dims else axis

  return [moved(views[0], move)]


def _concatenate(equation, views):
  dim = equation.params["dimension"]
  sizes = [variable.aval.shape[dim] for variable in equation.invars]
  present = [view for view in views if view is not None]

  def joined(i):
    axes = [view and view.axes[i] for view in views]
    others = [axis for axis in axes if axis is not None]
    along = all(axis.dim in (dim, None) for axis in others)
    same = all(axis.dim is None and axis[1:3] == others[0][1:3] for axis in others)
    return _end_to_end(axes, sizes, dim) if along and not same else unite_axes(*others)

  view: Any = unite(present)
  return [view._replace(axes=tuple(map(joined, range(len(present[0].axes)))))]


def _end_to_end(axes, sizes, dim):
  """The axis of values concatenated along dimension `dim`, each of which has that dimension or was reduced."""
  parts = [(axis.first, axis.last) if axis else ([np.inf], [-np.inf]) for axis in axes]
  first, last = (
    np.concatenate([np.broadcast_to(ends, size) for ends, size in zip(side, sizes, strict=True)])
    for side in zip(*parts, strict=True)
  )
  jumps = [axis.jump for axis in axes if axis and axis.dim is not None]
  if not jumps and np.isfinite(first).all():
    jumps = [Fraction(int(first[-1] - first[0]), max(1, len(first) - 1))]
  return Axis(dim, first, last, max(jumps, default=Fraction(0)))


def _reduce(equation, views):
  rank = len(equation.invars[0].aval.shape)
  kept = [d for d in range(rank) if d not in equation.params["axes"]]
  return [renumbered(views[0], {d: i for i, d in enumerate(kept)})]


def _squeeze(equation, views):
  rank = len(equation.invars[0].aval.shape)
  kept = [d for d in range(rank) if d not in equation.params["dimensions"]]
  return [renumbered(views[0], {d: i for i, d in enumerate(kept)})]


def _transpose(equation, views):
  return [renumbered(views[0], {d: i for i, d in enumerate(equation.params["permutation"])})]


def _broadcast(equation, views):
  before, after = equation.invars[0].aval.shape, equation.params["shape"]
  places = enumerate(equation.params["broadcast_dimensions"])
  return [renumbered(views[0], {d: to for d, to in places if before[d] == after[to]})]


def _reshape(equation, views):
  """A dimension is kept if it is neither merged with another nor split."""
  before, after = equation.invars[0].aval.shape, equation.outvars[0].aval.shape
  ends = {math.prod(after[: i + 1]): i for i in range(len(after)) if after[i] > 1}
  places: dict[int | None, int] = {}
  for d, size in enumerate(before):
    to = ends.get(math.prod(before[: d + 1]))
    if to is not None and after[to] == size:
      places[d] = to
  return [renumbered(views[0], places)]


RULES = {
  "broadcast_in_dim": _broadcast,
  "concatenate": _concatenate,
  "conv_general_dilated": _convolution,
  "dot_general": _dot,
  "optimization_barrier": lambda _, views: views,
  "pad": _pad,
  "reshape": _reshape,
  "rev": _reverse,
  "slice": _slice,
  "split": _split,
  "squeeze": _squeeze,
  "transpose": _transpose,
  **dict.fromkeys(("argmax", "argmin", "reduce_max", "reduce_min", "reduce_prod", "reduce_sum"), _reduce),
  **dict.fromkeys(("reduce_window_max", "reduce_window_min", "reduce_window_sum"), _reduce_window),
}

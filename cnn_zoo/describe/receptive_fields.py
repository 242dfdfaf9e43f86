"""What each value of a traced program sees of the input: receptive fields, found by walking through the program.

Convolutions and pooling widen what a value sees, slices and padding shift it, operations on several values unite what
these see, and reductions see all that they reduce. The program is the graph that really runs, so that branches,
shortcuts and pooling, which is no module, need no description of their own.
"""

import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from fractions import Fraction
from typing import NamedTuple

import numpy as np
from jax.extend.core import Literal, jaxprs_in_params


class Axis(NamedTuple):
  """What the elements of a value see along one spatial axis of the input.

  The input is taken to go on without end, so that padding counts: a field does not depend on where it lies, and may be
  larger than the input.

  Attributes:
    dim: which dimension of the value runs along that axis; None if none does, because it was reduced.
    first, last: [size of that dimension, or 1], the first and the last input that each element sees.
    jump: how far the fields of neighbours are apart, on average.
  """

  dim: int | None
  first: np.ndarray
  last: np.ndarray
  jump: Fraction

  @property
  def width(self) -> int:
    """Inputs from the first to the last, both counted, for the element that sees most."""
    return int((self.last - self.first).max()) + 1

  def at(self, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First and last of the elements `index`, which may lie outside, in the padding."""
    size = len(self.first)
    # Behind a transposed convolution it takes several neighbours to get on by a whole number of inputs.
    period, step = (self.jump.denominator, self.jump.numerator) if self.jump.denominator <= size else (1, self.jump)
    turns = np.where(index < 0, index // period, np.where(index < size, 0, (index - size) // period + 1))
    inside, beyond = index - turns * period, np.floor(turns * float(step))
    return self.first[inside] + beyond, self.last[inside] + beyond

  def everywhere(self) -> "Axis":
    """What all elements see together."""
    return Axis(None, self.first.min(keepdims=True), self.last.max(keepdims=True), Fraction(0))


class View(NamedTuple):
  """How a value depends on the input.

  Attributes:
    axes: one a spatial axis of the input.
    depth: how many convolutions and matrix products with weights lie on the longest path from the input.
    gated: whether a gate was left out on the way; see `Walk`.
  """

  axes: tuple[Axis, ...]
  depth: int = 0
  gated: bool = False

  @property
  def receptive_field(self) -> tuple[int, ...]:
    """The width along each axis."""
    return tuple(axis.width for axis in self.axes)


def whole_input(shape: Sequence[int]) -> View:
  """The view of an input [batch, *spatial, channels] itself."""
  places = (np.arange(size, dtype=float) for size in shape[1:-1])
  return View(tuple(Axis(dim, place, place, Fraction(1)) for dim, place in enumerate(places, start=1)))


class Event(NamedTuple):
  """A value that was asked for.

  Attributes:
    tag: the name which `jax.ad_checkpoint.checkpoint_name` gave it; for what a pooling layer computes, the names of the
      scopes that it runs in, with its own as the last, joined by "/".
    shape: of the value.
    dtype: of the value.
    view: None if the value does not depend on the input.
    source: of a pooling layer, the view of what it pools.
  """

  tag: str
  shape: tuple[int, ...]
  dtype: np.dtype
  view: View | None
  source: View | None = None


class Walk:
  """Follows the input through a program.

  A gate is a value without a place, such as what squeeze-and-excitation computes from the means over a map, that scales
  a value with places. It sees the whole input, and so would everything behind it; as in the literature (Araujo et al.
  2019, Computing Receptive Fields of Convolutional Neural Networks) the field, and the depth, are those of what is
  scaled. Where such a value is added or concatenated, it counts.

  Args:
    pooling: the names of the scopes (`jax.named_scope`) that are pooling layers. Two in one scope, of one name, with
      nothing between them are told as one.

  Attributes:
    events: named values and pooling layers, in the order in which they are computed.
  """

  def __init__(self, pooling: Iterable[str] = ()):
    self.events: list[Event] = []
    self._pooling = frozenset(pooling)

  def run(self, jaxpr, views: Sequence[View | None], scopes: tuple[str, ...] = ()) -> list[View | None]:
    """The views of what `jaxpr` returns from those of its arguments; None: does not depend on the input.

    Args:
      scopes: that the program runs in.
    """
    known = dict(zip(jaxpr.invars, views, strict=True))

    def look(variables):
      return [None if isinstance(variable, Literal) else known.get(variable) for variable in variables]

    def pooling_scopes(equation):
      inner = (*scopes, *_scopes(equation))
      return inner if inner and inner[-1] in self._pooling.difference(scopes) else ()

    for pool, equations in itertools.groupby(jaxpr.eqns, pooling_scopes):
      source = None
      for equation in equations:
        operands = look(equation.invars)
        source = source or next(filter(None, operands), None)
        known.update(zip(equation.outvars, self._equation(equation, operands, scopes), strict=True))
      if pool:
        (result,) = equation.outvars
        self._note("/".join(pool), result, known[result], source)
    return look(jaxpr.outvars)

  def _note(self, tag, variable, view, source=None):
    self.events.append(Event(tag, variable.aval.shape, variable.aval.dtype, view, source))

  def _equation(self, equation, views, scopes):
    name = equation.primitive.name
    if name == "name":
      self._note(equation.params["name"], equation.outvars[0], views[0])
    scope = "".join(_scopes(equation)[-1:])
    if scope.startswith("resize_"):
      return [_resized(equation, views[0], scope.removeprefix("resize_"))]
    inner = list(jaxprs_in_params(equation.params))
    if name in _CALLS:
      return self.run(inner[0], views, (*scopes, *_scopes(equation)))
    for loop in inner:  # what a field in it is depends on the turn
      self.run(loop, [None] * len(loop.invars), scopes)
    if not any(views):
      return [None] * len(equation.outvars)
    if name in _RULES:
      return _RULES[name](equation, views)
    if not inner and name not in _MIXING and _is_elementwise(equation):
      return [unite(views, gates=name == "mul")] * len(equation.outvars)
    return [_everything(views)] * len(equation.outvars)


def _scopes(equation):
  return tuple(filter(None, str(equation.source_info.name_stack).split("/")))


def unite(views: Iterable[View | None], *, gates: bool = False) -> View | None:
  """The view of a value whose elements depend on those at their own place in values of these views.

  Args:
    gates: leaves out values without a place if others have one.
  """
  views = [view for view in views if view is not None]
  if len(views) < 2:
    return views[0] if views else None
  if gates:
    placed = [view for view in views if any(axis.dim is not None for axis in view.axes)]
    if 0 < len(placed) < len(views):
      return unite(placed)._replace(gated=True)
  axes = tuple(map(_unite_axes, *(view.axes for view in views)))
  return View(axes, max(view.depth for view in views), any(view.gated for view in views))


def _unite_axes(*axes):
  if any(axis.dim != axes[0].dim or len(axis.first) != len(axes[0].first) for axis in axes):
    axes = [axis.everywhere() for axis in axes]
  first = np.minimum.reduce([axis.first for axis in axes])
  last = np.maximum.reduce([axis.last for axis in axes])
  return Axis(axes[0].dim, first, last, max(axis.jump for axis in axes))


def _everything(views):
  """The view of a value all of whose elements depend on all elements of the operands."""
  return unite(view and view._replace(axes=tuple(axis.everywhere() for axis in view.axes)) for view in views)


_CALLS = frozenset(
  ["jit", "pjit", "closed_call", "custom_jvp_call", "custom_vjp_call", "checkpoint", "remat", "remat2"]
)

# Their operands may have the shape of the result, and yet they are not elementwise.
_MIXING = (
  "cumlogsumexp",
  "cummax",
  "cummin",
  "cumprod",
  "cumsum",
  "dynamic_update_slice",
  "fft",
  "gather",
  "scatter",
  "scatter_add",
  "sort",
)


def _is_elementwise(equation):
  """Whether every operand has the shape of the results, or size 1 where it is the same for all of their elements."""
  shape, *others = [variable.aval.shape for variable in equation.outvars]
  operands = [variable.aval.shape for variable in equation.invars if variable.aval.shape]
  fit = (len(s) == len(shape) and all(n in (1, m) for n, m in zip(s, shape, strict=True)) for s in operands)
  return all(other == shape for other in others) and all(fit)


def _moved(view: View | None, move: Callable[[Axis], Axis]) -> View | None:
  """The view with `move(axis)` in the place of each axis that has a dimension."""
  if view is None:
    return None
  return view._replace(axes=tuple(axis if axis.dim is None else move(axis) for axis in view.axes))


def _renumbered(view, places: Mapping[int, int]):
  """The view of a value in which dimension d became places[d], or was reduced if it is not there."""
  return _moved(view, lambda a: a._replace(dim=places[a.dim]) if a.dim in places else a.everywhere())


def _resized(equation, view, method):
  """The view of what `cnn_zoo.layers.resize` makes of the first operand, whichever way it computes it."""
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

  return _moved(view, move)


def _windowed(axis, count, size, stride=1, before=0, dilation=1, base=1):
  """What `count` windows of `size` taps see, over an axis with `before` elements of padding at its beginning.

  `base` is how far apart the axis' elements are, with zeros between them, as in a transposed convolution.
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

  return [_product(_moved(views[0], move), _everything(views[1:]))]


def _product(*views):
  """The view of a product, which counts as a layer if one of its factors is weights."""
  view = unite(views)
  return view._replace(depth=view.depth + (None in views))


def _dot(equation, views):
  contracted, batched = equation.params["dimension_numbers"]
  factors, free = [], len(batched[0])  # the result's dimensions: the batch, the free ones of one factor, of the other
  for variable, view, gone, batch in zip(equation.invars, views, contracted, batched, strict=True):
    rest = [d for d in range(len(variable.aval.shape)) if d not in (*gone, *batch)]
    places = {d: i for i, d in enumerate(batch)} | {d: free + i for i, d in enumerate(rest)}
    free += len(rest)
    factors.append(_renumbered(view, places))
  return [_product(*factors)]


def _reduce_window(equation, views):
  p, shape = equation.params, equation.outvars[0].aval.shape

  def move(axis):
    d = axis.dim
    geometry = p["window_strides"][d], p["padding"][d][0], p["window_dilation"][d], p["base_dilation"][d]
    return _windowed(axis, shape[d], p["window_dimensions"][d], *geometry)

  return [_moved(views[0], move)]


def _pad(equation, views):
  configuration, shape = equation.params["padding_config"], equation.outvars[0].aval.shape

  def move(axis):
    low, _, interior = configuration[axis.dim]
    return _windowed(axis, shape[axis.dim], 1, before=low, base=interior + 1)

  return [_moved(views[0], move)]


def _slice(equation, views):
  p, shape = equation.params, equation.outvars[0].aval.shape

  def move(axis):
    d = axis.dim
    return _windowed(axis, shape[d], 1, p["strides"][d] if p["strides"] else 1, -p["start_indices"][d])

  return [_moved(views[0], move)]


def _split(equation, views):
  dim, starts = equation.params["axis"], itertools.accumulate(equation.params["sizes"], initial=0)

  def part(start, size):
    return _moved(views[0], lambda axis: _windowed(axis, size, 1, before=-start) if axis.dim == dim else axis)

  return [part(start, size) for start, size in zip(starts, equation.params["sizes"], strict=False)]


def _reverse(equation, views):
  dims = equation.params["dimensions"]

  def move(axis):
    return Axis(axis.dim, axis.first[::-1], axis.last[::-1], -axis.jump) if axis.dim in dims else axis

  return [_moved(views[0], move)]


def _concatenate(equation, views):
  dim = equation.params["dimension"]
  sizes = [variable.aval.shape[dim] for variable in equation.invars]
  present = [view for view in views if view is not None]

  def joined(i):
    axes = [view and view.axes[i] for view in views]
    others = [axis for axis in axes if axis is not None]
    along = all(axis.dim in (dim, None) for axis in others)
    same = all(axis.dim is None and axis[1:3] == others[0][1:3] for axis in others)
    return _end_to_end(axes, sizes, dim) if along and not same else _unite_axes(*others)

  return [unite(present)._replace(axes=tuple(map(joined, range(len(present[0].axes)))))]


def _end_to_end(axes, sizes, dim):
  """The axis of parts, laid one behind the other in dimension `dim`, of which each has the dimension or no place."""
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
  return [_renumbered(views[0], {d: i for i, d in enumerate(kept)})]


def _squeeze(equation, views):
  rank = len(equation.invars[0].aval.shape)
  kept = [d for d in range(rank) if d not in equation.params["dimensions"]]
  return [_renumbered(views[0], {d: i for i, d in enumerate(kept)})]


def _transpose(equation, views):
  return [_renumbered(views[0], {d: i for i, d in enumerate(equation.params["permutation"])})]


def _broadcast(equation, views):
  before, after = equation.invars[0].aval.shape, equation.params["shape"]
  places = enumerate(equation.params["broadcast_dimensions"])
  return [_renumbered(views[0], {d: to for d, to in places if before[d] == after[to]})]


def _reshape(equation, views):
  """Dimensions keep their place if no other is merged with them and they are not split."""
  before, after = equation.invars[0].aval.shape, equation.outvars[0].aval.shape
  ends = {math.prod(after[: i + 1]): i for i in range(len(after)) if after[i] > 1}
  places = {}
  for d, size in enumerate(before):
    to = ends.get(math.prod(before[: d + 1]))
    if to is not None and after[to] == size:
      places[d] = to
  return [_renumbered(views[0], places)]


_RULES = {
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

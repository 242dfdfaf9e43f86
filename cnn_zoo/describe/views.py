"""What a value in a program sees of the program's input, and how views combine."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np


class Axis(NamedTuple):
  """What the elements of a value see along one spatial axis of the input.

  The input is treated as infinite, so that padding counts: a field has the same width everywhere and may be larger than
  the input.

  Attributes:
    dim: which dimension of the value runs along that axis. None if none does, because the axis was reduced.
    first: float [size of that dimension, or 1], the first input that each element sees.
    last: the last one, of the same shape.
    jump: the average distance between the fields of neighbours.
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
    """First and last input of the elements `index`, which may lie outside the value, in its padding."""
    size = len(self.first)
    # After a transposed convolution only every few neighbours are a whole number of inputs apart.
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
    axes: one for each spatial axis of the input.
    depth: the number of convolutions and matrix products with weights on the longest path from the input.
    gated: whether a gate was left out on the way (see `receptive_fields.Walk`).
  """

  axes: tuple[Axis, ...]
  depth: int = 0
  gated: bool = False

  @property
  def receptive_field(self) -> tuple[int, ...]:
    """The width along each axis."""
    return tuple(axis.width for axis in self.axes)


def whole_input(shape: Sequence[int]) -> View:
  """The view of the input itself.

  Args:
    shape: of the input, [batch, *spatial, channels].

  >>> whole_input((1, 32, 32, 3)).receptive_field
  (1, 1)
  """
  places = (np.arange(size, dtype=float) for size in shape[1:-1])
  return View(tuple(Axis(dim, place, place, Fraction(1)) for dim, place in enumerate(places, start=1)))


def unite(views: Iterable[View | None], *, gates: bool = False) -> View | None:
  """The view of the result of an elementwise operation.

  Args:
    views: of the operands.
    gates: whether to leave out operands whose axes were all reduced if others still have theirs.

  Returns:
    The view, or None if no operand depends on the input.
  """
  views = [view for view in views if view is not None]
  if len(views) < 2:
    return views[0] if views else None
  if gates:
    placed = [view for view in views if any(axis.dim is not None for axis in view.axes)]
    if 0 < len(placed) < len(views):
      united: Any = unite(placed)
      return united._replace(gated=True)
  axes = tuple(map(unite_axes, *(view.axes for view in views)))
  return View(axes, max(view.depth for view in views), any(view.gated for view in views))


def unite_axes(*axes: Axis) -> Axis:
  """What the elements of several values see together along one axis of the input."""
  if any(axis.dim != axes[0].dim or len(axis.first) != len(axes[0].first) for axis in axes):
    axes = tuple(axis.everywhere() for axis in axes)
  first = np.minimum.reduce([axis.first for axis in axes])
  last = np.maximum.reduce([axis.last for axis in axes])
  return Axis(axes[0].dim, first, last, max(axis.jump for axis in axes))


def everything(views: Iterable[View | None]) -> View | None:
  """The view of a value whose elements all depend on all elements of the operands."""
  return unite(view and view._replace(axes=tuple(axis.everywhere() for axis in view.axes)) for view in views)


def moved(view: View | None, move: Callable[[Axis], Axis]) -> View | None:
  """The view with `move(axis)` instead of each axis that has a dimension."""
  if view is None:
    return None
  return view._replace(axes=tuple(axis if axis.dim is None else move(axis) for axis in view.axes))


def renumbered(view: View | None, places: Mapping[int | None, int]) -> View | None:
  """The view of a value in which dimension d became dimension `places[d]`, or was reduced if `places` lacks it."""
  return moved(view, lambda a: a._replace(dim=places[a.dim]) if a.dim in places else a.everywhere())

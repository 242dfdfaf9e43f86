"""What values see of the input, and how views combine."""

from fractions import Fraction

import numpy as np
import pytest

from cnn_zoo.describe.views import Axis, View, everything, renumbered, unite, whole_input


def axis(first, last, jump=1, dim=1):
  return Axis(dim, np.asarray(first, float), np.asarray(last, float), Fraction(jump))


def spans(view):
  return [(a.dim, a.first.tolist(), a.last.tolist(), a.jump) for a in view.axes]


def test_elementwise_operands_are_seen_together():
  """The wider field, the longer path; a value that does not depend on the input counts for nothing."""
  near, far = View((axis([0, 1], [0, 1]),), 1), View((axis([-1, 0], [2, 3]),), 3)
  assert spans(unite([near, None, far])) == [(1, [-1, 0], [2, 3], 1)] and unite([near, far]).depth == 3
  assert unite([near, far]).receptive_field == (4,)
  assert unite([None, None]) is None and unite([near, None]) is near


def test_operands_of_other_dimensions_are_seen_as_a_whole():
  assert spans(unite([whole_input((1, 4, 1)), View((axis([0, 2], [1, 3], 2, dim=2),))])) == [(None, [0], [3], 0)]


@pytest.mark.parametrize("gates", [True, False])
def test_gates_are_left_out(gates):
  values = whole_input((1, 4, 1))
  united = unite([values, everything([values])], gates=gates)
  assert united.gated == gates and united.receptive_field == ((1,) if gates else (4,))


def test_a_reduced_dimension_is_seen_as_a_whole():
  view = renumbered(whole_input((1, 3, 5, 1)), {2: 1})
  assert spans(view) == [(None, [0], [2], 0), (1, [0, 1, 2, 3, 4], [0, 1, 2, 3, 4], 1)]


@pytest.mark.parametrize(
  ("seen", "index", "first"),
  [
    (axis([0, 2, 4], [1, 3, 5], 2), [-2, 0, 2, 4], [-4, 0, 4, 8]),
    (axis([0, 0, 1, 1], [0, 0, 1, 1], Fraction(1, 2)), [-2, -1, 4, 5], [-1, -1, 2, 2]),  # enlarged twice
  ],
)
def test_padding_continues_the_fields(seen, index, first):
  starts, ends = seen.at(np.array(index))
  assert starts.tolist() == first and (ends - starts).tolist() == [seen.width - 1] * len(index)

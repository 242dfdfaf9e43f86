import numpy as np
import pytest

from cnn_zoo.convolutions.lowerings import rules
from cnn_zoo.convolutions.lowerings.windows import Geometry, without_idle_taps
from tests.helpers.lowerings import CASES, check

SMALL = [((1, 2), (3, 5), 1, "SAME", 1), ((2,), (3,), 4, 3, 1), ((3, 2), (3, 3), 1, "SAME", 6)]


@pytest.mark.parametrize("case", [*CASES, *SMALL], ids=str)
@pytest.mark.parametrize("groups", [1, 6])
def test_any_lowering_without_idle_taps(case, groups):
  check(rules.convolve, case, (6, 6), groups=groups)


@pytest.mark.parametrize(
  ("sizes", "taps", "stride", "padding", "dilation", "kept", "padding_left"),
  [
    ((1,), 3, 1, (1, 1), 1, slice(1, 2), (0, 0)),
    ((2,), 3, 1, (1, 1), 1, slice(0, 3), (1, 1)),
    ((2,), 7, 1, (3, 3), 1, slice(2, 5), (1, 1)),
    ((8,), 3, 1, (12, 12), 12, slice(1, 2), (0, 0)),
    ((2,), 3, 2, (1, 1), 1, slice(1, 3), (0, 1)),
    ((2,), 3, 1, (3, 5), 4, slice(1, 2), (-1, 1)),  # the one tap left begins behind the first element
    ((1,), 2, 3, (2, 1), 1, slice(0, 2), (2, 1)),  # nothing is seen, nothing left out
  ],
)
def test_idle_taps(sizes, taps, stride, padding, dilation, kept, padding_left):
  kernel = np.arange(taps).reshape(taps, 1, 1)
  x = np.zeros((1, *sizes, 1))
  left, geometry = without_idle_taps(x, kernel, Geometry((stride,), (padding,), (dilation,)))
  np.testing.assert_array_equal(left, kernel[kept])
  assert geometry.padding == (padding_left,)

import pytest

from cnn_zoo.convolutions.lowerings import winograd
from tests.helpers.lowerings import check

PADDINGS = ["SAME", "VALID", 2, 3, ((0, 1), (2, 0))]


@pytest.mark.parametrize("padding", PADDINGS, ids=str)
@pytest.mark.parametrize("sizes", [(8, 6), (7, 9), (5, 4)])
def test_values_and_gradients(sizes, padding):
  check(winograd.convolve, (sizes, (3, 3), 1, padding, 1), (5, 6))

import pytest

from cnn_zoo.convolutions.lowerings import winograd_dilated
from tests.helpers.lowerings import check

PADDINGS = ["SAME", "VALID", 3, ((0, 1), (2, 0))]


@pytest.mark.parametrize("padding", PADDINGS, ids=str)
@pytest.mark.parametrize(("sizes", "dilation"), [((8, 6), 2), ((7, 9), 3)])
def test_values_and_gradients(sizes, dilation, padding):
  check(winograd_dilated.convolve, (sizes, (3, 3), 1, padding, dilation), (5, 6))

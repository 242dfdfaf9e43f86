import pytest

from cnn_zoo.convolutions.lowerings import matmul
from tests.helpers.lowerings import check


@pytest.mark.parametrize("strides", [1, 2, 3])
@pytest.mark.parametrize(("sizes", "padding"), [((7,), "SAME"), ((6, 7), "VALID"), ((4, 5), 1), ((3, 4, 5), "SAME")])
def test_values_and_gradients(sizes, padding, strides):
  check(matmul.convolve, (sizes, (1,) * len(sizes), strides, padding, 1), (6, 5))


def test_gradient_of_many_channels():
  """From a transposed copy."""
  check(matmul.convolve, ((2, 3), (1, 1), 1, "VALID", 1), (200, 5))

import pytest

from cnn_zoo.convolutions.lowerings import columns
from tests.helpers.lowerings import CASES, check


@pytest.mark.parametrize("case", CASES, ids=str)
def test_values_and_gradients(case):
  check(columns.convolve, case, (5, 6))

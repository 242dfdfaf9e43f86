import functools

import pytest

from cnn_zoo.convolutions.lowerings import rules, slices
from tests.helpers.lowerings import CASES, check


@pytest.mark.parametrize("case", [case for case in CASES if len(case[0]) == 3], ids=str)
@pytest.mark.parametrize("dilation", [1, 2])
def test_values_and_gradients(case, dilation):
  sizes, kernel_size, strides, _, _ = case
  lowering = functools.partial(slices.convolve, convolve_planes=rules.convolve)
  check(lowering, (sizes, kernel_size, strides, 2, dilation), (5, 6))

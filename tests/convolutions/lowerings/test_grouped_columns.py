import jax.numpy as jnp
import pytest

from cnn_zoo.convolutions.lowerings import grouped_columns
from tests.helpers.lowerings import CASES, check


@pytest.mark.parametrize("case", CASES, ids=str)
def test_values_and_gradients(case):
  check(grouped_columns.convolve, case, (6, 9), groups=3)


def test_bfloat16():
  case = (9, 8), (3, 3), 2, "SAME", 1
  check(grouped_columns.convolve, case, (4, 4), groups=2, dtype=jnp.bfloat16, tolerance=2e-2)

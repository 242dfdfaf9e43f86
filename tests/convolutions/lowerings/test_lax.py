import jax.numpy as jnp
import pytest

from cnn_zoo.convolutions.lowerings import lax
from tests.helpers.lowerings import CASES, check


@pytest.mark.parametrize("case", CASES[1::4], ids=str)
@pytest.mark.parametrize("groups", [1, 2])
def test_values_and_gradients(case, groups):
  check(lax.convolve, case, (4, 6), groups=groups)


def test_bfloat16():
  check(lax.convolve, ((9, 8), (3, 3), 2, "SAME", 1), (4, 4), groups=4, dtype=jnp.bfloat16, tolerance=2e-2)

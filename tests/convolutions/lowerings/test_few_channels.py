import jax.numpy as jnp
import pytest

from cnn_zoo.convolutions.lowerings import few_channels
from tests.helpers.lowerings import CASES, check

UNDILATED = [case for case in CASES if case[-1] == 1]


@pytest.mark.parametrize("most_taps", [0, 1000])
@pytest.mark.parametrize("case", UNDILATED, ids=str)
def test_values_and_gradients(case, most_taps, monkeypatch):
  """Forward by lax, and by columns."""
  monkeypatch.setattr(few_channels, "_MOST_TAPS", most_taps)
  check(few_channels.convolve, case, (3, 5))


def test_bfloat16():
  check(few_channels.convolve, ((9, 8), (3, 3), 2, "SAME", 1), (4, 4), dtype=jnp.bfloat16, tolerance=2e-2)

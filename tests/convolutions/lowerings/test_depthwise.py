import jax
import jax.numpy as jnp
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from cnn_zoo.convolutions.arithmetic import output_sizes, resolve_padding
from cnn_zoo.convolutions.lowerings import depthwise, grouped_columns
from tests.helpers.lowerings import CASES, check


@pytest.mark.parametrize(("case", "multiplier"), [*((case, 1) for case in CASES), *((case, 2) for case in CASES[::3])])
def test_values_and_gradients(case, multiplier):
  check(depthwise.convolve, case, (4, 4 * multiplier), groups=4)


@pytest.fixture
def by_rows(monkeypatch):
  """The gradient by the kernel as for large images."""
  monkeypatch.setattr(depthwise, "_LARGE", 0)
  jax.clear_caches()
  yield
  jax.clear_caches()


@pytest.mark.parametrize("case", [case for case in CASES if len(case[0]) == 2], ids=str)
def test_gradient_by_rows(case, by_rows):
  check(depthwise.convolve, case, (4, 4), groups=4)


def test_gradient_by_rows_in_blocks(by_rows):
  check(depthwise.convolve, ((8, 5), (3, 3), 1, "SAME", 1), (4, 4), groups=4, batch=24)


def test_bfloat16():
  case = (9, 8), (3, 3), 2, "SAME", 1
  check(depthwise.convolve, case, (4, 4), groups=4, dtype=jnp.bfloat16, tolerance=2e-2)


@st.composite
def convolutions(draw):
  rank = draw(st.integers(1, 3))
  sizes = draw(st.tuples(*[st.integers(1, 9 - 2 * rank + 2)] * rank))
  kernel_size = draw(st.tuples(*[st.integers(1, 5 if rank < 3 else 3)] * rank))
  pairs = st.tuples(*[st.tuples(st.integers(0, 3), st.integers(0, 3))] * rank)
  padding = draw(st.one_of(st.sampled_from(["SAME", "VALID"]), pairs))
  return sizes, kernel_size, draw(st.integers(1, 3)), padding, draw(st.integers(1, 2))


@settings(max_examples=16, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(convolutions(), st.integers(1, 2), st.booleans())
def test_any_geometry(case, multiplier, separate):
  """Of depthwise layers, and of grouped ones."""
  sizes, kernel_size, strides, padding, dilation = case
  strides, dilation = (strides,) * len(sizes), (dilation,) * len(sizes)
  pairs = resolve_padding(padding, sizes, kernel_size, strides, dilation)
  assume(min(output_sizes(sizes, kernel_size, strides, pairs, dilation)) > 0)
  if separate:
    check(depthwise.convolve, case, (3, 3 * multiplier), groups=3)
  else:
    check(grouped_columns.convolve, case, (4, 4 * multiplier), groups=2)

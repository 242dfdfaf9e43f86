import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from cnn_zoo.convolutions import lowering
from cnn_zoo.convolutions.arithmetic import output_sizes, resolve_padding
from cnn_zoo.convolutions.lowerings import columns, depthwise, rules
from cnn_zoo.convolutions.lowerings.windows import Geometry, without_idle_taps
from cnn_zoo.errors import UserError
from tests.helpers.reference import assert_close, reference


def check(
  execute, sizes, kernel_size, features, *, strides, padding, dilation, groups=1, dtype=np.float32, tol=1e-5, batch=2
):
  rank = len(kernel_size)
  strides, dilation = (strides,) * rank, (dilation,) * rank
  padding = resolve_padding(padding, sizes, kernel_size, strides, dilation)
  in_features, out_features = features
  rng = np.random.default_rng(0)
  x = rng.standard_normal((batch, *sizes, in_features)).astype(dtype)
  kernel = rng.standard_normal((*kernel_size, in_features // groups, out_features)).astype(dtype)
  outs = output_sizes(sizes, kernel_size, strides, padding, dilation)
  g = rng.standard_normal((batch, *outs, out_features)).astype(dtype)

  @jax.jit
  def run(x, kernel, g):
    geometry = Geometry(strides, padding, dilation, groups)
    y, gradient = jax.vjp(lambda x, kernel: execute(x, kernel, geometry), x, kernel)
    return y, *gradient(g)

  actual = run(x, kernel, g)
  assert all(a.dtype == dtype for a in actual)
  wide = [np.asarray(a, np.float64) for a in (x, kernel)]
  for a, e in zip(actual, reference(*wide, strides, padding, dilation, groups, np.asarray(g, np.float64)), strict=True):
    assert_close(a, e, tol)


# sizes, kernel, strides, padding, dilation
CASES = [
  ((9,), (3,), 1, "SAME", 1),
  ((11,), (5,), 3, "VALID", 2),
  ((3,), (7,), 1, "SAME", 1),  # smaller than the kernel
  ((6, 7), (3, 3), 1, "SAME", 1),
  ((7, 6), (3, 5), 2, "SAME", 1),
  ((9, 8), (3, 3), 2, 1, 1),
  ((9, 10), (2, 3), 3, ((0, 2), (3, 1)), 1),
  ((11, 9), (3, 2), 1, "VALID", 2),
  ((2, 1), (5, 5), 2, 2, 1),
  ((2, 3), (3, 3), 1, "SAME", 2),
  ((5, 5), (1, 1), 3, 2, 1),  # whole windows inside the padding
  ((5, 4, 3), (3, 2, 3), 1, "SAME", 1),
  ((5, 6, 4), (3, 3, 2), 2, 1, 1),
]


@pytest.mark.parametrize(("case", "multiplier"), [*((case, 1) for case in CASES), *((case, 2) for case in CASES[::3])])
def test_depthwise(case, multiplier):
  sizes, kernel_size, strides, padding, dilation = case
  options = {"strides": strides, "padding": padding, "dilation": dilation}
  check(rules._depthwise, sizes, kernel_size, (4, 4 * multiplier), groups=4, **options)


@pytest.mark.parametrize("case", [case for case in CASES if case[-1] == 1], ids=str)
@pytest.mark.parametrize("execute", [rules._first_by_columns, rules._first_by_lax])
def test_first_layer(execute, case):
  sizes, kernel_size, strides, padding, dilation = case
  check(execute, sizes, kernel_size, (3, 5), strides=strides, padding=padding, dilation=dilation)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_columns(case):
  sizes, kernel_size, strides, padding, dilation = case
  options = {"strides": strides, "padding": padding, "dilation": dilation}
  check(rules._small_by_columns, sizes, kernel_size, (5, 6), **options)


@pytest.mark.parametrize(
  "case", [*CASES, ((1, 2), (3, 5), 1, "SAME", 1), ((2,), (3,), 4, 3, 1), ((3, 2), (3, 3), 1, "SAME", 6)], ids=str
)
@pytest.mark.parametrize("groups", [1, 6])
def test_any_lowering_without_idle_taps(case, groups):
  sizes, kernel_size, strides, padding, dilation = case
  options = {"strides": strides, "padding": padding, "dilation": dilation}
  check(rules._execute, sizes, kernel_size, (6, 6), groups=groups, **options)


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


@pytest.mark.parametrize("case", CASES, ids=str)
def test_grouped(case):
  sizes, kernel_size, strides, padding, dilation = case
  options = {"strides": strides, "padding": padding, "dilation": dilation}
  check(columns.grouped, sizes, kernel_size, (6, 9), groups=3, **options)


@pytest.mark.parametrize("case", [case for case in CASES if len(case[0]) == 3], ids=str)
@pytest.mark.parametrize("dilation", [1, 2])
def test_slice_by_slice(case, dilation):
  sizes, kernel_size, strides, _, _ = case
  check(rules._slice_by_slice, sizes, kernel_size, (5, 6), strides=strides, padding=2, dilation=dilation)


PADDINGS = ["SAME", "VALID", 2, 3, ((0, 1), (2, 0))]


@pytest.mark.parametrize("padding", PADDINGS, ids=str)
@pytest.mark.parametrize("sizes", [(8, 6), (7, 9), (5, 4)])
def test_winograd(sizes, padding):
  check(rules._winograd, sizes, (3, 3), (5, 6), strides=1, padding=padding, dilation=1)


@pytest.mark.parametrize("padding", PADDINGS, ids=str)
@pytest.mark.parametrize(("sizes", "dilation"), [((8, 6), 2), ((7, 9), 3)])
def test_winograd_dilated(sizes, dilation, padding):
  check(rules._winograd_dilated, sizes, (3, 3), (5, 6), strides=1, padding=padding, dilation=dilation)


@pytest.mark.parametrize("strides", [1, 2, 3])
@pytest.mark.parametrize(("sizes", "padding"), [((7,), "SAME"), ((6, 7), "VALID"), ((4, 5), 1), ((3, 4, 5), "SAME")])
def test_matmul(sizes, padding, strides):
  check(rules._matmul, sizes, (1,) * len(sizes), (6, 5), strides=strides, padding=padding, dilation=1)


@pytest.mark.parametrize("case", CASES[1::4], ids=str)
@pytest.mark.parametrize("groups", [1, 2])
def test_lax(case, groups):
  sizes, kernel_size, strides, padding, dilation = case
  options = {"strides": strides, "padding": padding, "dilation": dilation}
  check(rules._lax, sizes, kernel_size, (4, 6), groups=groups, **options)


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
def test_any_geometry(case, multiplier, depthwise):
  sizes, kernel_size, strides, padding, dilation = case
  rank = len(sizes)
  pairs = resolve_padding(padding, sizes, kernel_size, (strides,) * rank, (dilation,) * rank)
  assume(min(output_sizes(sizes, kernel_size, (strides,) * rank, pairs, (dilation,) * rank)) > 0)
  options = {"strides": strides, "padding": padding, "dilation": dilation}
  if depthwise:
    check(rules._depthwise, sizes, kernel_size, (3, 3 * multiplier), groups=3, **options)
  else:
    check(columns.grouped, sizes, kernel_size, (4, 4 * multiplier), groups=2, **options)


@pytest.mark.parametrize(
  ("execute", "groups"),
  [(rules._depthwise, 4), (rules._lax, 4), (columns.grouped, 2), (rules._first_by_columns, 1)],
)
def test_bfloat16(execute, groups):
  options = {"strides": 2, "padding": "SAME", "dilation": 1}
  check(execute, (9, 8), (3, 3), (4, 4), groups=groups, dtype=jnp.bfloat16, tol=2e-2, **options)


def choice(sizes, kernel_shape, groups=1, strides=1, dilation=1, dtype=np.float32):
  x, kernel = np.zeros((8, *sizes, kernel_shape[-2] * groups), dtype), np.zeros(kernel_shape)
  rank = len(sizes)
  geometry = Geometry((strides,) * rank, ((1, 1),) * rank, (dilation,) * rank, groups)
  return rules._choose(x, kernel, geometry)


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="the rule of CPUs")
def test_choice_on_a_cpu():
  large = (56, 56), (3, 3, 64, 64)
  assert choice((8, 8), (3, 3, 1, 16), 16) is rules._depthwise
  assert choice((8, 8), (3, 3, 4, 16), 4) is columns.grouped
  assert choice((8, 8), (1, 1, 16, 16)) is rules._matmul
  assert choice((8, 8), (3, 3, 3, 16)) is rules._first_by_columns
  assert choice((8, 8), (7, 7, 3, 16)) is rules._first_by_lax
  assert choice((8, 8, 8), (3, 3, 3, 16, 16)) is rules._slice_by_slice
  assert choice((2, 9), (3, 3, 16, 16)) is choice((4, 4), (3, 3, 16, 16), strides=2) is rules._small_by_columns
  assert choice(*large) is rules._winograd
  assert choice(*large, dilation=2) is choice(*large, dilation=4) is rules._winograd_dilated
  for other in (
    choice(*large, strides=2),
    choice(*large, dilation=5),
    choice(*large, dtype=jnp.bfloat16),
    choice((8, 8), (3, 3, 64, 64)),
  ):
    assert other is rules._lax
  with lowering("lax"):
    assert choice((8, 8), (3, 3, 1, 16), 16) is rules._lax
    with lowering("auto"):
      assert choice((8, 8), (1, 1, 16, 16)) is rules._matmul
    assert choice((8, 8), (1, 1, 16, 16)) is rules._lax
  assert choice((8, 8), (1, 1, 16, 16)) is rules._matmul


def test_lowering_ends_with_an_exception_and_refuses_other_names():
  before = rules._lowering
  with pytest.raises(KeyError), lowering("lax"):
    raise KeyError
  assert rules._lowering == before
  with pytest.raises(UserError, match=r"convolution_lowering='cudnn' is not known; valid: auto, lax"):
    lowering("cudnn").__enter__()


@pytest.mark.parametrize("case", [case for case in CASES if len(case[0]) == 2], ids=str)
def test_depthwise_by_rows(case, monkeypatch):
  monkeypatch.setattr(depthwise, "_LARGE", 0)
  jax.clear_caches()
  sizes, kernel_size, strides, padding, dilation = case
  options = {"strides": strides, "padding": padding, "dilation": dilation}
  check(rules._depthwise, sizes, kernel_size, (4, 4), groups=4, **options)


def test_depthwise_by_rows_in_blocks(monkeypatch):
  monkeypatch.setattr(depthwise, "_LARGE", 0)
  jax.clear_caches()
  options = {"strides": 1, "padding": "SAME", "dilation": 1}
  check(rules._depthwise, (8, 5), (3, 3), (4, 4), groups=4, batch=24, **options)

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from cnn_zoo.convolutions import execution, lowering
from cnn_zoo.convolutions.arithmetic import output_sizes, resolve_padding
from cnn_zoo.errors import UserError


def reference(x, kernel, strides, padding, dilation, groups, g=None):
  """The convolution by its definition, in float64, and, given the output's cotangent, both gradients."""
  rank, multiplier = len(strides), kernel.shape[-1] // groups
  padded = np.pad(x, [(0, 0), *padding, (0, 0)]).astype(np.float64)
  sizes = [
    (n - d * (k - 1) - 1) // s + 1
    for n, k, s, d in zip(padded.shape[1:-1], kernel.shape[:rank], strides, dilation, strict=True)
  ]
  y = np.zeros((x.shape[0], *sizes, groups, multiplier))
  padded = padded.reshape(*padded.shape[:-1], groups, -1)
  grouped = kernel.reshape(*kernel.shape[:-1], groups, multiplier).astype(np.float64)  # [*taps, in, groups, out]
  dx, dkernel = np.zeros_like(padded), np.zeros_like(grouped)
  if g is not None:
    g = g.reshape(-1, groups, multiplier).astype(np.float64)
  for tap in itertools.product(*map(range, kernel.shape[:rank])):
    places = [
      slice(t * d, t * d + s * (n - 1) + 1, s) for t, d, s, n in zip(tap, dilation, strides, sizes, strict=True)
    ]
    window = (slice(None), *places)
    y += np.einsum("...gi,igo->...go", padded[window], grouped[tap])
    if g is not None:
      dx[window] += np.einsum("ngo,igo->ngi", g, grouped[tap]).reshape(padded[window].shape)
      dkernel[tap] = np.einsum("ngi,ngo->igo", padded[window].reshape(-1, *padded.shape[-2:]), g)
  inside = (slice(None), *(slice(low, low + n) for (low, _), n in zip(padding, x.shape[1:-1], strict=True)))
  return y.reshape(*y.shape[:-2], -1), dx.reshape(*dx.shape[:-2], -1)[inside], dkernel.reshape(kernel.shape)


def assert_close(actual, expected, tolerance=1e-5):
  assert actual.shape == expected.shape
  scale = max(np.abs(expected).max(), 1e-3)
  assert np.abs(np.asarray(actual, np.float64) - expected).max() <= tolerance * scale


def check(execute, sizes, kernel_size, features, *, strides, padding, dilation, groups=1, dtype=np.float32, tol=1e-5):
  rank = len(kernel_size)
  strides, dilation = (strides,) * rank, (dilation,) * rank
  padding = resolve_padding(padding, sizes, kernel_size, strides, dilation)
  in_features, out_features = features
  rng = np.random.default_rng(0)
  x = rng.standard_normal((2, *sizes, in_features)).astype(dtype)
  kernel = rng.standard_normal((*kernel_size, in_features // groups, out_features)).astype(dtype)
  outs = output_sizes(sizes, kernel_size, strides, padding, dilation)
  g = rng.standard_normal((2, *outs, out_features)).astype(dtype)

  @jax.jit
  def run(x, kernel, g):
    y, gradient = jax.vjp(lambda x, kernel: execute(x, kernel, strides, padding, dilation, groups), x, kernel)
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
  check(execution._depthwise, sizes, kernel_size, (4, 4 * multiplier), groups=4, **options)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_patches(case):
  sizes, kernel_size, strides, padding, dilation = case
  check(execution._patches, sizes, kernel_size, (3, 5), strides=strides, padding=padding, dilation=dilation)


@pytest.mark.parametrize("strides", [1, 2, 3])
@pytest.mark.parametrize(("sizes", "padding"), [((7,), "SAME"), ((6, 7), "VALID"), ((4, 5), 1), ((3, 4, 5), "SAME")])
def test_matmul(sizes, padding, strides):
  check(execution._matmul, sizes, (1,) * len(sizes), (6, 5), strides=strides, padding=padding, dilation=1)


@pytest.mark.parametrize("case", CASES[1::4], ids=str)
@pytest.mark.parametrize("groups", [1, 2])
def test_lax(case, groups):
  sizes, kernel_size, strides, padding, dilation = case
  options = {"strides": strides, "padding": padding, "dilation": dilation}
  check(execution._lax, sizes, kernel_size, (4, 6), groups=groups, **options)


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
    check(execution._depthwise, sizes, kernel_size, (3, 3 * multiplier), groups=3, **options)
  else:
    check(execution._patches, sizes, kernel_size, (2, 2 * multiplier), **options)


@pytest.mark.parametrize("execute", [execution._depthwise, execution._lax])
def test_bfloat16(execute):
  options = {"strides": 2, "padding": "SAME", "dilation": 1}
  check(execute, (9, 8), (3, 3), (4, 4), groups=4, dtype=jnp.bfloat16, tol=2e-2, **options)


def choice(kernel_shape, groups):
  in_features = kernel_shape[-2] * groups
  x, kernel = np.zeros((1, 8, 8, in_features)), np.zeros(kernel_shape)
  return execution._choose(x, kernel, (1, 1), groups)


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="the rule of CPUs")
def test_choice_on_a_cpu():
  assert choice((3, 3, 1, 16), 16) is execution._depthwise
  assert choice((1, 1, 16, 16), 1) is execution._matmul
  assert choice((3, 3, 3, 16), 1) is execution._patches
  assert choice((3, 3, 16, 16), 1) is execution._lax
  assert choice((3, 3, 4, 16), 4) is execution._lax
  with lowering("lax"):
    assert choice((3, 3, 1, 16), 16) is execution._lax
    with lowering("auto"):
      assert choice((1, 1, 16, 16), 1) is execution._matmul
    assert choice((1, 1, 16, 16), 1) is execution._lax
  assert choice((1, 1, 16, 16), 1) is execution._matmul


def test_lowering_ends_with_an_exception_and_refuses_other_names():
  before = execution._lowering
  with pytest.raises(KeyError), lowering("lax"):
    raise KeyError
  assert execution._lowering == before
  with pytest.raises(UserError, match=r"convolution_lowering='cudnn' is not known; valid: auto, lax"):
    lowering("cudnn").__enter__()

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_zoo.convolutions import lowering
from cnn_zoo.convolutions.arithmetic import resolve_padding
from cnn_zoo.errors import UserError
from cnn_zoo.layers import adaptive_average_pool, average_pool, global_average_pool, max_pool
from tests.helpers.lowerings import forward_mode, second_derivatives
from tests.helpers.model_checks import QUICK

CASES = [
  ((7,), (2,), 2, "VALID"),
  ((7, 6), (3, 3), 2, "SAME"),
  ((8, 5), (3, 2), (2, 1), 1),
  ((5, 4), (2, 2), 1, ((0, 1), (1, 0))),
  ((4, 5, 6), (2, 2, 3), 2, "VALID"),
]


def inputs(sizes, features=3):
  return np.random.default_rng(0).standard_normal((2, *sizes, features)).astype(np.float32)


def reference(x, window, strides, padding, operation, fill):
  rank = len(window)
  strides = (strides,) * rank if isinstance(strides, int) else strides
  pairs = resolve_padding(padding, x.shape[1:-1], window, strides, (1,) * rank)
  x = np.pad(x, [(0, 0), *pairs, (0, 0)], constant_values=fill)
  outs = [(n - k) // s + 1 for n, k, s in zip(x.shape[1:-1], window, strides, strict=True)]
  y = np.zeros((x.shape[0], *outs, x.shape[-1]))
  for place in itertools.product(*map(range, outs)):
    cut = tuple(slice(p * s, p * s + k) for p, s, k in zip(place, strides, window, strict=True))
    y[(slice(None), *place)] = operation(x[(slice(None), *cut)], axis=tuple(range(1, rank + 1)))
  return y


@pytest.mark.parametrize("case", CASES, ids=str)
def test_against_numpy(case):
  sizes, *arguments = case
  x = inputs(sizes)
  expected = reference(x, *arguments, np.mean, 0)
  np.testing.assert_allclose(average_pool(jnp.asarray(x), *arguments), expected, rtol=1e-5, atol=1e-6)
  expected = reference(x, *arguments, np.max, -np.inf)
  np.testing.assert_allclose(max_pool(jnp.asarray(x), *arguments), expected)


def test_max_pool_of_negative_numbers_ignores_padding():
  assert (max_pool(-jnp.ones((1, 3, 3, 1)), (3, 3), 2, 1) == -1).all()


def test_gradients():
  x = jnp.asarray([1.0, 4.0, 2.0, 3.0]).reshape(1, 4, 1)
  gradient = jax.grad(lambda x: max_pool(x, (2,), 2).sum())(x)
  np.testing.assert_array_equal(gradient.ravel(), [0, 1, 0, 1])
  gradient = jax.grad(lambda x: average_pool(x, (2,), 2).sum())(x)
  np.testing.assert_array_equal(gradient.ravel(), [0.5, 0.5, 0.5, 0.5])


@pytest.mark.parametrize("sizes", [(), (5,), (4, 3), (2, 3, 4)])
def test_global_average_pool(sizes):
  x = inputs(sizes)
  y = global_average_pool(jnp.asarray(x))
  assert y.shape == (2, 3)
  np.testing.assert_allclose(y, x.reshape(2, -1, 3).mean(1), rtol=1e-5, atol=1e-6)


# (size, window, stride, padding, outputs) of PyTorch's ceil_mode.
CEIL = [
  (112, 3, 2, 0, 56),
  (110, 3, 2, 0, 55),
  (26, 3, 2, 0, 13),
  (13, 3, 2, 0, 6),
  (14, 2, 2, 0, 7),
  (5, 2, 2, 0, 3),
  (4, 3, 2, 1, 3),
  (3, 2, 2, 1, 2),  # a third window would begin behind the input
  (2, 3, 2, 0, 1),
  (7, 3, 3, 1, 3),
  (6, 2, 3, 1, 3),
]


@pytest.mark.parametrize("case", CEIL, ids=str)
def test_ceil_mode(case):
  size, window, stride, padding, outputs = case
  x = inputs((size,))
  y = max_pool(jnp.asarray(x), (window,), stride, padding, ceil_mode=True)
  assert y.shape == (2, outputs, 3)
  wide = np.pad(x, [(0, 0), (padding, 2 * window), (0, 0)], constant_values=-np.inf)
  expected = [wide[:, i * stride : i * stride + window].max(1) for i in range(outputs)]
  np.testing.assert_array_equal(y, np.stack(expected, 1))


def test_ceil_mode_of_two_axes():
  x = jnp.arange(16.0).reshape(1, 4, 4, 1)
  y = max_pool(x, (3, 2), 2, ceil_mode=True)
  np.testing.assert_array_equal(y[0, ..., 0], [[9, 11], [13, 15]])


SHAPES = [
  *CASES,
  ((9, 9), (3, 3), 2, 1),
  ((8, 8), (3, 3), 1, 1),
  ((7, 8), (2, 3), (3, 4), 0),
  ((6, 5, 7), (3,) * 3, 2, 1),
]


@pytest.mark.parametrize("case", SHAPES, ids=str)
def test_max_pool_as_shifted_inputs_is_xlas(case):
  """Numbers with many ties: both give the gradient to the first of equals, PyTorch's choice."""
  sizes, *arguments = case
  x = jnp.asarray(np.random.default_rng(1).integers(0, 3, (2, *sizes, 4)), jnp.float32)

  def run(x):
    y, transpose = jax.vjp(lambda x: max_pool(x, *arguments), x)
    return y, transpose(jnp.cos(jnp.arange(y.size, dtype=y.dtype)).reshape(y.shape))[0]

  results = []
  for setting in (("auto", "cpu"), ("auto", "gpu")):
    with lowering(*setting):
      program = jax.jit(run).lower(x)
      assert ("select_and_scatter" in program.as_text()) == (setting == ("auto", "gpu"))
      results.append(program.compile(QUICK)(x))
  (ours, our_gradient), (theirs, their_gradient) = results
  np.testing.assert_array_equal(ours, theirs)
  np.testing.assert_allclose(our_gradient, their_gradient, rtol=1e-5, atol=1e-5)


POOLS = {
  "max": lambda x: max_pool(x, (3, 2), 2, 1),
  "average": lambda x: average_pool(x, (3, 2), 2, 1),
  "adaptive": lambda x: adaptive_average_pool(x, 4),
  "global": global_average_pool,
}


@pytest.mark.parametrize("name", POOLS)
def test_forward_mode_and_second_derivatives(name):
  """They are those of XLA's own operations."""

  def run(x):
    return [*forward_mode(POOLS[name], x), *jax.tree.leaves(second_derivatives(POOLS[name], x))]

  results = []
  for setting in ("auto", "lax"):
    with lowering(setting, platform="cpu"):
      results.append(jax.jit(run, compiler_options=QUICK)(inputs((7, 6))))
  for ours, theirs in zip(*results, strict=True):
    assert np.abs(theirs).max() > 0
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", POOLS)
def test_symbolic_batch(name):
  def run(x):
    y, pull = jax.vjp(POOLS[name], x)
    return y, pull(jnp.cos(y))[0]

  x = inputs((7, 6))
  (batch,) = jax.export.symbolic_shape("batch")
  exported = jax.export.export(jax.jit(run))(jax.ShapeDtypeStruct((batch, 7, 6, 3), jnp.float32))
  for ours, theirs in zip(exported.call(x), jax.jit(run, compiler_options=QUICK)(x), strict=True):
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


def test_vmap():
  """Over examples, over tangents, and of per-example gradients."""
  xs = inputs((7, 6)), -inputs((7, 6))

  def run(xs):
    def gradient(x):
      return jax.grad(lambda x: jnp.sum(jnp.sin(max_pool(x, (3, 2), 2, 1))))(x)

    mapped = jax.vmap(gradient)(xs)
    tangents = jax.vmap(lambda v: jax.jvp(POOLS["max"], (xs[0],), (v,))[1])(xs)
    return mapped, tangents, [gradient(x) for x in xs], [jax.jvp(POOLS["max"], (xs[0],), (v,))[1] for v in xs]

  mapped, tangents, each, each_tangent = jax.jit(run, compiler_options=QUICK)(jnp.stack(xs))
  np.testing.assert_allclose(mapped, np.stack(each), rtol=1e-6)
  np.testing.assert_allclose(tangents, np.stack(each_tangent), rtol=1e-6)


def test_the_setting_chooses():
  """The window of 36 elements is left to XLA."""
  x = jnp.ones((1, 8, 8, 1))
  for setting, window, ours in [("auto", 3, True), ("auto", 6, False), ("lax", 3, False)]:
    with lowering(setting, platform="cpu"):
      program = jax.jit(jax.grad(lambda x, window=window: max_pool(x, (window, window), 2).sum())).lower(x)
      assert ("select_and_scatter" not in program.as_text()) == ours


def test_ties_and_nan():
  """As PyTorch: the first of equals, and of several NaN the last."""
  nan = np.nan
  x = jnp.asarray([[1, nan, 3, 3], [nan, 2, 3, 3], [1, 1, 0, 0], [1, 1, 0, 0]], jnp.float32)[None, ..., None]
  y, transpose = jax.vjp(lambda x: max_pool(x, (2, 2), 2), x)
  np.testing.assert_array_equal(y[0, ..., 0], [[nan, 3], [1, 0]])
  gradient = transpose(jnp.ones_like(y))[0][0, ..., 0]
  np.testing.assert_array_equal(gradient, [[0, 0, 1, 0], [1, 0, 0, 0], [1, 0, 1, 0], [0, 0, 0, 0]])


def test_gradient_of_overlapping_windows_adds_up():
  x = jnp.asarray([0.0, 1.0, 5.0, 2.0, 3.0]).reshape(1, 5, 1)
  gradient = jax.grad(lambda x: (max_pool(x, (3,), 1, 1) * jnp.asarray([1.0, 2, 3, 4, 5])[None, :, None]).sum())(x)
  np.testing.assert_array_equal(gradient.ravel(), [0, 1, 2 + 3 + 4, 0, 5])


def test_windows_of_any_size_have_a_gradient():
  """Those of more than 32 elements are left to XLA; 300 places do not fit into a byte."""
  x = jnp.asarray(inputs((1, 20, 20)))[:, 0]
  for window, strides in (((6, 6), 2), ((2, 2), 20), ((5, 6), (18, 19))):
    y, transpose = jax.vjp(lambda x, w=window, s=strides: max_pool(x, w, s), x)
    gradient = transpose(jnp.ones_like(y))[0]
    assert float(gradient.sum()) == y.size
    assert float(jnp.sum(jnp.where(gradient > 0, gradient * x, 0))) == pytest.approx(float(y.sum()), rel=1e-5)


@pytest.mark.parametrize(
  ("sizes", "cells"), [((7,), (6,)), ((13, 4), (6, 6)), ((6, 1), (6, 3)), ((8, 9, 2), (4, 2, 7))]
)
def test_adaptive_average_pool(sizes, cells):
  """Cell i of s is the mean of elements floor(i n / s) to ceil((i + 1) n / s) - 1."""
  x = inputs(sizes)
  expected = np.zeros((2, *cells, 3))
  for place in itertools.product(*map(range, cells)):
    cut = tuple(
      slice(int(np.floor(i * n / s)), int(np.ceil((i + 1) * n / s)))
      for i, n, s in zip(place, sizes, cells, strict=True)
    )
    expected[(slice(None), *place)] = x[(slice(None), *cut)].mean(tuple(range(1, len(sizes) + 1)))
  np.testing.assert_allclose(adaptive_average_pool(jnp.asarray(x), cells), expected, rtol=1e-5, atol=1e-6)


def test_adaptive_average_pool_of_its_own_size_is_nothing():
  x = jnp.asarray(inputs((6, 6)))
  assert adaptive_average_pool(x, 6) is x


def test_dtype_and_mistakes():
  x = jnp.ones((1, 4, 4, 2), jnp.bfloat16)
  assert max_pool(x, (2, 2), 2).dtype == average_pool(x, (2, 2), 2).dtype == global_average_pool(x).dtype == x.dtype
  with pytest.raises(UserError, match="strides=0 must be at least 1"):
    max_pool(x, (2, 2), 0)
  with pytest.raises(UserError, match=r"window=\(2,\) has 1 axes; valid: one number, or one for each of 2 axes"):
    max_pool(x, (2,), 2)
  for pool in (max_pool, average_pool):
    with pytest.raises(UserError, match=r"input \(1, 4, 4, 2\) is too small for a pooling window=\(5, 5\)"):
      pool(x, (5, 5), 2)
  with pytest.raises(UserError, match="sizes=0 must be at least 1"):
    adaptive_average_pool(x, 0)

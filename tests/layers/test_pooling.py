import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_zoo.convolutions.arithmetic import resolve_padding
from cnn_zoo.errors import UserError
from cnn_zoo.layers import average_pool, global_average_pool, max_pool

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


def test_dtype_and_mistakes():
  x = jnp.ones((1, 4, 4, 2), jnp.bfloat16)
  assert max_pool(x, (2, 2), 2).dtype == average_pool(x, (2, 2), 2).dtype == global_average_pool(x).dtype == x.dtype
  with pytest.raises(UserError, match="strides=0 must be at least 1"):
    max_pool(x, (2, 2), 0)

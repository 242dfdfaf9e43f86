import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from cnn_zoo.errors import UserError
from cnn_zoo.layers import local_response_normalization


def reference(x, size, k, alpha, beta):
  """Section 3.3 of the paper, one channel after another."""
  x = np.asarray(x, np.float64)
  y, channels = np.zeros_like(x), x.shape[-1]
  for i in range(channels):
    near = x[..., max(0, i - size // 2) : min(channels, i + (size - 1) // 2 + 1)]
    y[..., i] = x[..., i] / (k + alpha * (near**2).sum(-1)) ** beta
  return y


@pytest.mark.parametrize("shape", [(2, 3, 7), (2, 3, 2, 12), (1, 2, 2, 2, 3)])
@pytest.mark.parametrize(
  "constants", [(5, 2.0, 1e-4, 0.75), (4, 1.0, 0.1, 0.5), (1, 0.5, 1.0, 1.0), (99, 2.0, 0.3, 0.75)]
)
def test_formula(shape, constants):
  x = 3 * np.random.default_rng(0).standard_normal(shape).astype(np.float32)
  size, k, alpha, beta = constants
  y = local_response_normalization(jnp.asarray(x), size=size, k=k, alpha=alpha, beta=beta)
  np.testing.assert_allclose(y, reference(x, *constants), rtol=2e-6)


def test_the_papers_constants_are_the_default():
  """PyTorch's LocalResponseNorm(5, alpha=5 * 1e-4, beta=0.75, k=2) of 3, 6, ..., 36 in float64."""
  x = jnp.arange(3.0, 37, 3).reshape(1, 1, 1, 12)
  expected = [1.77542836, 3.53192066, 5.2541996, 6.92591546, 8.53314218, 10.0641624]
  expected += [11.5096916, 12.8629474, 14.1195819, 15.2775023, 17.1066733, 19.0983267]
  np.testing.assert_allclose(local_response_normalization(x).ravel(), expected, rtol=1e-6)


def test_gradient():
  x = jax.random.normal(jax.random.key(0), (2, 3, 6))
  check_grads(lambda x: local_response_normalization(x, alpha=0.5, size=3), (x,), order=1, rtol=1e-2, eps=1e-2)
  zero = jax.grad(lambda x: local_response_normalization(x).sum())(jnp.zeros((1, 2, 4)))
  np.testing.assert_allclose(zero, 2**-0.75, rtol=1e-6)


def test_bfloat16_is_computed_in_float32():
  x = 100 * jax.random.normal(jax.random.key(0), (2, 3, 8), jnp.bfloat16)
  y = local_response_normalization(x)
  assert y.dtype == jnp.bfloat16
  np.testing.assert_allclose(y.astype(np.float32), reference(x.astype(np.float32), 5, 2.0, 1e-4, 0.75), rtol=0.005)


def test_mistake():
  with pytest.raises(UserError, match="size=0 of local response normalisation must be at least 1"):
    local_response_normalization(jnp.ones((1, 2, 3)), size=0)

"""Pixels and samples to what a model sees."""

import jax.numpy as jnp
import numpy as np
import pytest

from cnn_zoo.errors import UserError
from cnn_zoo.tasks import normalize


def test_pixels():
  image = jnp.asarray([[0, 51, 255]], jnp.uint8)
  np.testing.assert_allclose(normalize(image, (0.5,), (0.25,), jnp.float32), [[-2, -1.2, 2]], rtol=1e-6)
  channels = normalize(image, (0.0, 0.2, 0.5), (1.0, 1.0, 0.5), jnp.float32)
  np.testing.assert_allclose(channels, [[0, 0, 1]], atol=1e-7)
  assert normalize(image, (0.5,), (0.25,), jnp.bfloat16).dtype == jnp.bfloat16


def test_samples():
  wave = jnp.asarray([[-32768], [0], [16384]], jnp.int16)
  np.testing.assert_array_equal(normalize(wave, (0.0,), (0.5,), jnp.float32), [[-2], [0], [1]])


@pytest.mark.parametrize(
  ("mean", "std", "says"),
  [
    ((0.5, 0.5), (0.25,), r"config.data.mean=\(0.5, 0.5\) must be one number, or one for each of 3 channels"),
    ((0.5,), (0.2, 0.2, 0.0), r"config.data.std=\(0.2, 0.2, 0.0\) must be one number above 0, or one for each of 3"),
    ((0.5,), (), r"config.data.std=\(\) must be"),
  ],
)
def test_refusals(mean, std, says):
  with pytest.raises(UserError, match=says):
    normalize(jnp.zeros((1, 3), jnp.uint8), mean, std, jnp.float32)

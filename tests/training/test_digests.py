"""Digests of arrays and JSON."""

import jax.numpy as jnp
import numpy as np

from cnn_zoo.training.digests import digest


def test_one_value_has_one_digest():
  """On the host and on a device, whatever the order in memory; every bit, the dtype and the shape count."""
  x = np.arange(6, dtype=np.float32).reshape(2, 3)
  assert digest(x) == digest(jnp.asarray(x)) == digest(np.asfortranarray(x))
  others = [x.reshape(3, 2), x.astype(np.float64), x.view(np.int32), -x, x + np.float32([[0, 0, 0], [0, 0, 5e-7]])]
  assert len({digest(value) for value in (x, *others)}) == 6
  assert digest(np.float32(0.0)) != digest(np.float32(-0.0))
  assert digest(np.float32(1.0)) == digest(jnp.float32(1.0)) != digest(jnp.bfloat16(1.0))
  assert digest({"b": 1.5, "a": None}) == digest({"a": None, "b": 1.5}) != digest({"a": None, "b": 1.25})

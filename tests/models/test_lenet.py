import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from cnn_zoo import create_model, describe


def test_parameters():
  model = create_model("lenet5", num_classes=10, in_channels=1, rngs=nnx.Rngs(0))
  assert describe(model, (32, 32, 1)).parameters == 61_706
  assert sum(p.size for p in jax.tree.leaves(nnx.state(model, nnx.Param))) == 61_706


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_logits(dtype):
  model = create_model("lenet5", num_classes=5, in_channels=2, dtype=dtype, rngs=nnx.Rngs(0))
  graph, state = nnx.split(model)
  y = jax.jit(lambda state, x: nnx.merge(graph, state)(x))(state, jax.random.normal(jax.random.key(0), (3, 32, 32, 2)))
  assert y.shape == (3, 5) and y.dtype == jnp.float32 and np.isfinite(y).all()
  assert np.ptp(y, 0).min() > 0

"""Models under JAX's transformations: forward mode, and export with a symbolic batch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from cnn_zoo.convolutions import lowering
from cnn_zoo.models import abstract_model, create_model
from tests.helpers.model_checks import QUICK, images


@pytest.mark.parametrize("name", ["resnet18", "unet"])
def test_forward_mode_and_symbolic_batch(name):
  """They are traced, which is where they would fail; layers have tests of their values."""
  model = abstract_model(name, num_classes=3)
  model.eval()
  graph, state = nnx.split(model)

  def run(state, x):
    return nnx.merge(graph, state)(x)

  def tangent(state, x, v):
    return jax.jvp(lambda x: run(state, x), (x,), (v,))[1]

  (batch,) = jax.export.symbolic_shape("batch")
  x = jax.ShapeDtypeStruct((batch, 32, 32, 3), jnp.float32)
  for function, arguments in ((run, (state, x)), (tangent, (state, x, x))):
    (y,) = jax.export.export(jax.jit(function))(*arguments).out_avals
    assert y.shape[0] == batch and y.shape[-1] == 3


def test_tangents_of_a_model():
  """Those of XLA's own operations."""
  model = create_model("lenet_maxpool", num_classes=5, rngs=nnx.Rngs(0))
  model.eval()
  graph, state = nnx.split(model)
  state = jax.tree.map(lambda p: p + 0.05 * jnp.cos(jnp.arange(p.size)).reshape(p.shape), state)  # no zeros
  x = images(32, 32, batch=2)
  results = []
  for setting in ("auto", "lax"):
    with lowering(setting, platform="cpu"):
      run = jax.jit(lambda state, x: jax.jvp(nnx.merge(graph, state), (x,), (jnp.cos(x),)), compiler_options=QUICK)
      results.append(run(state, x))
  for ours, theirs in zip(*results, strict=True):
    assert np.abs(theirs).max() > 0
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)

"""What every architecture must do, whatever it is."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from cnn_zoo.convolutions import lowering
from cnn_zoo.models import abstract_model, create_model, registry

QUICK = {"xla_backend_optimization_level": 0}  # compiles twice as fast


def images(*sizes, batch=4, channels=3):
  """A batch [batch, *sizes, channels] of noise."""
  return jax.random.normal(jax.random.key(1), (batch, *sizes, channels))


def shrink(monkeypatch, name, **fixed):
  """Within a test, gives model `name` other values of the arguments that its registry entry fixes."""
  entry = registry.entry(name)
  monkeypatch.setitem(registry._MODELS, name, entry._replace(fixed={**entry.fixed, **fixed}))


def traced_shape(name, *input_shape, **options):
  """The shape of the logits of model `name` for a batch of `input_shape`; nothing is computed."""
  model = abstract_model(name, in_channels=input_shape[-1], **options)
  model.eval()
  graph, state = nnx.split(model)
  x = jax.ShapeDtypeStruct(input_shape, jnp.float32)
  with lowering("lax"):
    return jax.eval_shape(lambda state, x: nnx.merge(graph, state)(x), state, x).shape


def evaluated(model, x):
  """The logits of `model` for x in evaluation mode."""
  model.eval()
  graph, state = nnx.split(model)
  return jax.jit(lambda state, x: nnx.merge(graph, state)(x), compiler_options=QUICK)(state, x)


def trained(model, x):
  """One training pass of `model` over x: (logits, gradient of a function of them, batch statistics after it)."""
  graph, state = nnx.split(model)

  def run(state, x):
    def loss(model):
      logits = model(x)
      weights = jax.random.normal(jax.random.key(2), logits.shape)
      return jnp.sum(weights * jax.nn.log_softmax(logits)), logits

    model = nnx.merge(graph, state)
    gradient, logits = nnx.grad(loss, has_aux=True)(model)
    return logits, nnx.to_pure_dict(gradient), nnx.to_pure_dict(nnx.state(model, nnx.BatchStat))

  return jax.jit(run, compiler_options=QUICK)(state, x)


def check_training(name, x, **options):
  """Every parameter of model `name` gets a finite gradient that is not zero, the same with `remat` as without."""
  options = {"num_classes": 5, "in_channels": x.shape[-1]} | options
  models = [create_model(name, rngs=nnx.Rngs(0), remat=remat, **options) for remat in (False, True)]
  return check_gradients(models, x, (x.shape[0], 5))


def check_gradients(models, x, shape):
  """As `check_training`, of one model without and one with `remat`, whose logits have that shape."""
  results = [trained(model, x) for model in models]
  logits, gradient, statistics = results[0]
  assert logits.shape == shape and logits.dtype == jnp.float32
  for path, g in jax.tree_util.tree_leaves_with_path(gradient):
    assert np.isfinite(g).all() and np.abs(g).max() > 0, jax.tree_util.keystr(path)
  largest = max(float(np.abs(g).max()) for g in jax.tree.leaves(gradient))
  for a, b in zip(*map(jax.tree.leaves, results), strict=True):  # only the rounding differs
    np.testing.assert_allclose(a, b, rtol=0, atol=1e-3 * float(np.abs(b).max()) + 1e-6 * largest)
  return logits, gradient, statistics

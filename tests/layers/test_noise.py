import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from cnn_zoo.errors import UserError
from cnn_zoo.layers import Dropout, StochasticDepth, set_noise

KINDS = [Dropout, StochasticDepth]


class Branch(nnx.Module):
  def __init__(self):
    rngs = nnx.Rngs(0)
    self.first, self.silent, self.second = Dropout(0.5, rngs=rngs), Dropout(0.0, rngs=rngs), Dropout(0.5, rngs=rngs)

  def __call__(self, x):
    return jnp.stack([self.first(x), self.silent(x), self.second(x)])


@pytest.mark.parametrize("kind", KINDS)
def test_mean_and_values(kind):
  layer = kind(0.2, rngs=nnx.Rngs(0))
  y = np.asarray(layer(jnp.full((20_000, 2), 3.0)))
  assert y.shape == (20_000, 2)
  np.testing.assert_allclose(np.unique(y), [0, 3.75], rtol=1e-6)
  assert y.mean() == pytest.approx(3, rel=0.03)


def test_stochastic_depth_drops_whole_examples():
  y = np.asarray(StochasticDepth(0.5, rngs=nnx.Rngs(0))(jnp.ones((64, 3, 5, 2)))).reshape(64, -1)
  assert (y == y[:, :1]).all() and set(y[:, 0]) == {0, 2}


def test_dropout_drops_each_element():
  y = np.asarray(Dropout(0.5, rngs=nnx.Rngs(0))(jnp.ones((8, 100))))
  assert all(set(row) == {0, 2} for row in y) and len({tuple(row) for row in y}) == 8


@pytest.mark.parametrize("kind", KINDS)
def test_every_call_and_every_layer_differs(kind):
  rngs, x = nnx.Rngs(0), jnp.ones((100, 1))
  first, second = kind(0.5, rngs=rngs), kind(0.5, rngs=rngs)
  masks = {tuple(np.ravel(layer(x))) for layer in (first, first, first, second, second)}
  assert len(masks) == 5


def test_set_noise_makes_it_reproducible():
  x, first, second = jnp.ones((4, 50)), Branch(), Branch()
  first(x)  # moves the keys on
  for model in (first, second):
    set_noise(model, jax.random.key(7))
  y = first(x)
  np.testing.assert_array_equal(y, second(x))
  assert (y[0] != y[2]).any()
  set_noise(second, jax.random.key(8))
  assert (second(x) != y).any()
  set_noise(nnx.List([Dropout(0.0, rngs=nnx.Rngs(0))]), jax.random.key(0))  # nothing to set


def test_inside_jit_as_outside():
  graph, state = nnx.split(Branch())

  def run(state, key, x):
    model = nnx.merge(graph, state)
    set_noise(model, key)
    return model(x)

  x, key = jnp.ones((4, 50)), jax.random.key(3)
  np.testing.assert_array_equal(jax.jit(run)(state, key, x), run(state, key, x))


@pytest.mark.parametrize("kind", KINDS)
def test_off_in_evaluation(kind):
  layer, x = kind(0.9, rngs=nnx.Rngs(0)), jnp.ones((10, 10))
  layer.eval()
  np.testing.assert_array_equal(layer(x), x)
  layer.train()
  assert (layer(x) != x).any()


@pytest.mark.parametrize("kind", KINDS)
def test_rate_zero_has_no_key(kind):
  layer, x = kind(0.0, rngs=nnx.Rngs(0)), jnp.ones((3, 3))
  assert layer.key is None and not jax.tree.leaves(nnx.state(layer))
  np.testing.assert_array_equal(layer(x), x)


@pytest.mark.parametrize("kind", KINDS)
def test_dtype(kind):
  assert kind(0.3, rngs=nnx.Rngs(0))(jnp.ones((4, 4), jnp.bfloat16)).dtype == jnp.bfloat16


@pytest.mark.parametrize("rate", [-0.1, 1.0, 1.5])
def test_rates_that_mean_nothing_are_refused(rate):
  with pytest.raises(UserError, match=f"rate={rate} of Dropout must be at least 0 and below 1"):
    Dropout(rate, rngs=nnx.Rngs(0))

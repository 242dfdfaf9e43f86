"""Optimizers against their formulas in NumPy."""

import jax
import numpy as np
import optax
import pytest

from cnn_zoo.training.optimizers import OPTIMIZERS, create_optimizer
from cnn_zoo.training.settings import default_config

RATE, MOMENTUM, DECAY, EPSILON, STEPS = 0.1, 0.9, 0.95, 1e-3, 5


def settings(name, /, **changes):
  s = default_config().optimizer
  s.name, s.momentum, s.decay, s.epsilon = name, MOMENTUM, DECAY, EPSILON
  s.update(changes)
  return s


def parameters():
  rng = np.random.default_rng(0)
  return {"kernel": rng.normal(size=(3, 4)), "bias": rng.normal(size=4), "scale": 1 + rng.normal(size=4)}


def gradients():
  rng = np.random.default_rng(1)
  return [{name: rng.normal(size=p.shape) for name, p in parameters().items()} for _ in range(STEPS)]


def run(s):
  params = jax.tree.map(np.float32, parameters())
  optimizer = create_optimizer(s, RATE)
  state = optimizer.init(params)
  for grads in gradients():
    updates, state = optimizer.update(jax.tree.map(np.float32, grads), state, params)
    params = optax.apply_updates(params, updates)
  return params


def expected(name, weight_decay, clip_norm=0.0):
  """Each parameter array by itself, straight from the papers."""
  params, grads = parameters(), gradients()
  if clip_norm:
    for g in grads:
      norm = np.sqrt(sum((x**2).sum() for x in g.values()))
      g.update({k: x * min(1, clip_norm / norm) for k, x in g.items()})
  result = {}
  for key, p in params.items():
    decay = weight_decay if key == "kernel" else 0.0
    m, v = np.zeros_like(p), np.ones_like(p) if name == "rmsprop" else np.zeros_like(p)
    for t, g in enumerate((g[key] for g in grads), 1):
      if name == "sgd":
        g = g + decay * p
        m = MOMENTUM * m + g
        p = p - RATE * (g + MOMENTUM * m)
      elif name == "rmsprop":
        g = g + decay * p
        v = DECAY * v + (1 - DECAY) * g**2
        m = MOMENTUM * m + RATE * g / np.sqrt(v + EPSILON)
        p = p - m
      else:
        m, v = MOMENTUM * m + (1 - MOMENTUM) * g, DECAY * v + (1 - DECAY) * g**2
        update = m / (1 - MOMENTUM**t) / (np.sqrt(v / (1 - DECAY**t)) + EPSILON) + decay * p
        trust = np.linalg.norm(p) / np.linalg.norm(update) if (name, key) == ("lamb", "kernel") else 1.0
        p = p - RATE * trust * update
    result[key] = p
  return result


@pytest.mark.parametrize("weight_decay", [0.0, 0.3])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_formula(name, weight_decay):
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-6),
    run(settings(name, weight_decay=weight_decay)),
    expected(name, weight_decay),
  )


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_clipping(name):
  """By the norm of the whole gradient, before weight decay and momentum."""
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-6),
    run(settings(name, weight_decay=0.3, clip_norm=0.5)),
    expected(name, 0.3, clip_norm=0.5),
  )


def test_small_gradients_are_not_clipped():
  a, b = run(settings("sgd", clip_norm=1e3)), run(settings("sgd"))
  assert all(map(np.array_equal, jax.tree.leaves(a), jax.tree.leaves(b)))


def test_lamb_moves_biases_and_scales_at_the_rate():
  """As in timm's Lamb. With a trust ratio, 200 steps of gradient -1 at rate 0.01 take a bias to 0.072 only."""
  s = default_config().optimizer
  s.name = "lamb"
  params = {"kernel": np.ones((1, 1), np.float32), "bias": np.zeros(1, np.float32), "scale": np.ones(1, np.float32)}
  optimizer = create_optimizer(s, 0.01)

  def step(carry, _):
    params, state = carry
    updates, state = optimizer.update(jax.tree.map(lambda p: -jax.numpy.ones_like(p), params), state, params)
    return (optax.apply_updates(params, updates), state), None

  (params, _), _ = jax.lax.scan(step, (params, optimizer.init(params)), length=200)
  values = {name: float(p.item()) for name, p in params.items()}
  assert values == pytest.approx({"kernel": 1.01**200, "bias": 2.0, "scale": 3.0}, rel=1e-4)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_dtypes_with_64_bits(name):
  """With JAX_ENABLE_X64 as without: parameters and state stay as they are, as a compiled step takes them."""
  with jax.enable_x64(True):
    s = settings(name, weight_decay=0.1, clip_norm=1.0)
    params = jax.tree.map(np.float32, parameters())
    state = create_optimizer(s, 0.0).init(params)
    updates, new = create_optimizer(s, np.float32(RATE)).update(params, state, params)
    assert jax.typeof(optax.apply_updates(params, updates)["kernel"]).dtype == np.float32
    assert jax.tree.map(jax.typeof, new) == jax.tree.map(jax.typeof, state)

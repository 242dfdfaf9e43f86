"""One training step."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_zoo import data
from cnn_zoo.training.mesh import create_mesh, shard_batch
from cnn_zoo.training.programs import Programs, evaluated_weights
from tests.helpers import runner


def take_steps(steps, name="lenet5", **fields):
  """The states before and after each of these steps."""
  config = runner.load(name, **fields)
  mesh = create_mesh()
  programs = Programs(config, mesh)
  step = programs.compile_train_step().result()
  batches = data.train_batches(data.open_dataset(config.data), config.data, seed=0, batch_size=config.batch_size)
  state = programs.initial_state()
  states = [jax.tree.map(np.array, state)]
  for _ in range(steps):
    state = step(state, shard_batch(next(batches), mesh), np.float32(config.optimizer.learning_rate))
    states.append(jax.tree.map(np.array, state))
  batches.close()
  return states


def test_accumulated_gradients_are_those_of_the_batch():
  fields = {"optimizer.name": "sgd", "optimizer.learning_rate": 0.1, "label_smoothing": 0.1}
  whole, parts = take_steps(3, **fields)[-1], take_steps(3, accumulate=4, **fields)[-1]
  close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)  # noqa: E731
  jax.tree.map(close, whole.params, parts.params)
  jax.tree.map(close, whole.metrics, parts.metrics)
  assert whole.metrics["count"] == 3 * 64 and whole.metrics["steps"] == 3


def test_averaged_weights():
  """decay = min(ema_decay, (1 + t) / (10 + t)), as TensorFlow has it, from the initial weights on."""
  states = take_steps(4, ema_decay=0.15)
  average = states[0].params
  for t, state in enumerate(states[1:]):
    decay = min(0.15, (1 + t) / (10 + t))
    average = jax.tree.map(lambda a, p, d=decay: d * a + (1 - d) * p, average, state.params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), state.ema["params"], average)
  assert evaluated_weights(states[-1]) is states[-1].ema
  assert evaluated_weights(states[-1], ema=False)["params"] is states[-1].params
  plain = dataclasses.replace(states[-1], ema={})
  assert evaluated_weights(plain)["params"] is plain.params


def test_gradient_norm_is_of_the_whole_gradient():
  """SGD without momentum moves by the rate times the gradient, clipped or not."""
  fields = {"optimizer.name": "sgd", "optimizer.momentum": 0.0, "optimizer.weight_decay": 0.0}
  before, after = take_steps(1, **fields, **{"optimizer.learning_rate": 0.5})
  moves = jax.tree.map(lambda a, b: (b - a) / 0.5, after.params, before.params)
  norm = np.sqrt(sum((x**2).sum() for x in jax.tree.leaves(moves)))
  assert after.metrics["grad_norm"] == pytest.approx(norm, rel=1e-4)


def test_parameters_stay_float32():
  config = runner.load("lenet5", dtype="bfloat16")
  programs = Programs(config, create_mesh())
  assert programs.dtype == jnp.bfloat16
  assert {x.dtype for x in jax.tree.leaves((programs.shapes.params, programs.shapes.optimizer))} <= {
    np.dtype("float32"),
    np.dtype("int32"),
  }

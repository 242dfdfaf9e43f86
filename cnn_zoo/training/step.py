"""A step of training and one of evaluation, as pure functions for `jax.jit`."""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax.flatten_util import ravel_pytree
from ml_collections import ConfigDict

from cnn_zoo.layers import set_noise
from cnn_zoo.tasks import normalize
from cnn_zoo.training.network import Network
from cnn_zoo.training.optimizers import create_optimizer
from cnn_zoo.training.state import TrainState, as_floats


def make_train_step(network: Network, task: ModuleType, config: ConfigDict, dtype: Any) -> Callable:
  """The function (state, seed, batch, learning_rate) -> the state after one more step.

  Its randomness is a function of the seed and the step. Seed and learning rate are arguments, so that they do not
  change the compiled program. Gradient and update are one program; docs/benchmarks.md compares it with two.

  Args:
    network: the model.
    task: one of `cnn_zoo.tasks`.
    config: the run's configuration.
    dtype: of the inputs of the model.
  """
  gradient = _make_gradient(network, task, config, dtype)

  def train_step(state: TrainState, seed, batch, learning_rate) -> TrainState:
    key = jax.random.fold_in(jax.random.key(seed), state.step)
    grads, batch_stats, sums = gradient(state.params, state.batch_stats, key, batch)
    return _update(config, state, grads, batch_stats, sums, learning_rate)

  return train_step


def _make_gradient(network, task, config, dtype):
  """The function (params, batch_stats, key, batch) -> (gradient, batch_stats, sums), of the global batch."""

  def loss_and_sums(params, batch_stats, key, batch):
    module = network.module(params, batch_stats)
    set_noise(module, key)
    outputs = module(normalize(batch["input"], config.data.mean, config.data.std, dtype))
    losses = task.losses(outputs, batch, config.label_smoothing)
    sums = as_floats(task.sums(outputs, batch, losses))
    # Training batches are full. Dividing by sums["count"] would take an all-reduce before the backward pass.
    return losses.mean(), (nnx.to_pure_dict(nnx.state(module, nnx.BatchStat)), sums)

  gradient = jax.grad(loss_and_sums, has_aux=True)

  def of_whole(params, batch_stats, key, batch):
    grads, (batch_stats, sums) = gradient(params, batch_stats, key, batch)
    return grads, batch_stats, sums

  def of_parts(params, batch_stats, key, batch):
    """The mean gradient over `config.accumulate` parts of the batch, one after another."""
    parts = config.accumulate

    def split(x):  # part i takes every parts-th row, so that each device keeps its own rows
      return jnp.moveaxis(x.reshape(-1, parts, *x.shape[1:]), 1, 0)

    def add_part(carry, part):
      batch_stats, total, sums, index = carry
      grads, batch_stats, more = of_whole(params, batch_stats, jax.random.fold_in(key, index), part)
      return (batch_stats, *jax.tree.map(jnp.add, (total, sums), (grads, more)), index + 1), None

    batch = jax.tree.map(split, batch)
    shapes = jax.eval_shape(of_whole, params, batch_stats, key, jax.tree.map(lambda x: x[0], batch))
    total, _, sums = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
    (batch_stats, total, sums, _), _ = jax.lax.scan(add_part, (batch_stats, total, sums, 0), batch)
    return jax.tree.map(lambda g: g / parts, total), batch_stats, sums

  return of_parts if config.accumulate > 1 else of_whole


def _update(config, state, grads, batch_stats, sums, learning_rate):
  """The state after the step of this gradient."""
  optimizer = create_optimizer(config.optimizer, learning_rate)
  updates, optimizer_state = optimizer.update(grads, state.optimizer, state.params)
  params = optax.apply_updates(state.params, updates)
  sums |= {"grad_norm": jnp.linalg.norm(ravel_pytree(grads)[0]), "steps": 1}
  new = TrainState(
    step=state.step + 1,
    params=params,
    batch_stats=batch_stats,
    optimizer=optimizer_state,
    ema=_average(state.ema, {"params": params, "batch_stats": batch_stats}, config.ema_decay, state.step),
    metrics=jax.tree.map(jnp.add, state.metrics, as_floats(sums)),
  )
  return jax.tree.map(lambda new, old: new.astype(old.dtype), new, state)  # some are float64 with jax_enable_x64


def is_finite(state: TrainState) -> jax.Array:
  """Whether all numbers that a step has computed are finite; an update can overflow although the loss is finite.

  Inside the step it would take 8 of 80 ms for EfficientNet-B0 on digits, so it is a program that runs before a save.
  """
  return jnp.isfinite(ravel_pytree((state.params, state.batch_stats, state.optimizer, state.ema))[0]).all()


def _average(ema, new, decay, step):
  """Moves the averages towards the new arrays; faster at first, so that the start is forgotten (as TensorFlow does)."""
  if not ema:
    return ema
  decay = jnp.minimum(decay, (1 + step) / (10 + step)).astype(jnp.float32)
  return jax.tree.map(lambda a, b: decay * a + (1 - decay) * b, ema, new)


def make_answer(network: Network, config: ConfigDict, dtype: Any) -> Callable:
  """The function (params, batch_stats, inputs) -> logits, in evaluation mode, of inputs as a batch has them."""

  def answer(params, batch_stats, inputs):
    module = network.module(params, batch_stats)
    module.eval()
    return module(normalize(inputs, config.data.mean, config.data.std, dtype))

  return answer


def make_eval_step(network: Network, task: ModuleType, config: ConfigDict, dtype: Any) -> Callable:
  """The function (params, batch_stats, batch) -> sums over the examples of the batch that are not padding."""
  answer = make_answer(network, config, dtype)

  def eval_step(params, batch_stats, batch):
    outputs = answer(params, batch_stats, batch["input"])
    return task.sums(outputs, batch, task.losses(outputs, batch))

  return eval_step

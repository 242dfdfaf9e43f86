"""A step of training, in its two parts, and one of evaluation, as pure functions for `jax.jit`.

Gradient and update are two programs, not one, because a CPU spends most of a minute on compiling both: the small one
compiles while the large one is still being traced. Between them go the gradients, which exist in either case.
"""

from types import ModuleType

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax.flatten_util import ravel_pytree

from cnn_zoo.layers import set_noise
from cnn_zoo.tasks import normalize
from cnn_zoo.training.optimizers import create_optimizer
from cnn_zoo.training.state import Network, TrainState, as_floats


def make_gradient(network: Network, task: ModuleType, config, dtype):
  """The function (params, batch_stats, seed, step, batch) -> (gradient, batch_stats, sums), of the global batch.

  Its randomness is a function of the seed and the step; being arguments, neither makes it another program to compile.
  """

  def loss_and_sums(params, batch_stats, key, batch):
    module = network.module(params, batch_stats)
    set_noise(module, key)
    outputs = module(normalize(batch["input"], config.data.mean, config.data.std, dtype))
    losses = task.losses(outputs, batch, config.label_smoothing)
    sums = as_floats(task.sums(outputs, batch, losses))
    # Training batches are full. Dividing by sums["count"] would take an all-reduce before the backward pass.
    return losses.mean(), (nnx.to_pure_dict(nnx.state(module, nnx.BatchStat)), sums)

  gradient = jax.grad(loss_and_sums, has_aux=True)

  def whole(params, batch_stats, seed, step, batch):
    key = jax.random.fold_in(jax.random.key(seed), step)
    grads, (batch_stats, sums) = gradient(params, batch_stats, key, batch)
    return grads, batch_stats, sums

  def in_parts(params, batch_stats, seed, step, batch):
    """The mean gradient over `config.accumulate` parts of the batch, one after another."""
    key = jax.random.fold_in(jax.random.key(seed), step)
    parts = config.accumulate

    def split(x):  # part i takes every parts-th row, so that each device keeps its own rows
      return jnp.moveaxis(x.reshape(-1, parts, *x.shape[1:]), 1, 0)

    def add(a, b):
      return jax.tree.map(jnp.add, a, b)

    def one(carry, part):
      batch_stats, total, sums, index = carry
      grads, (batch_stats, more) = gradient(params, batch_stats, jax.random.fold_in(key, index), part)
      return (batch_stats, add(total, grads), add(sums, more), index + 1), None

    batch = jax.tree.map(split, batch)
    first = jax.tree.map(lambda x: x[0], batch)
    shapes = jax.eval_shape(gradient, params, batch_stats, key, first)
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), (shapes[0], shapes[1][1]))
    (batch_stats, total, sums, _), _ = jax.lax.scan(one, (batch_stats, *zeros, 0), batch)
    return jax.tree.map(lambda g: g / parts, total), batch_stats, sums

  return in_parts if config.accumulate > 1 else whole


def make_update(config):
  """The function (state, gradient, batch_stats, sums, learning_rate) -> the state after the step."""

  def update(state: TrainState, grads, batch_stats, sums, learning_rate) -> TrainState:
    optimizer = create_optimizer(config.optimizer, learning_rate)
    updates, optimizer_state = optimizer.update(grads, state.optimizer, state.params)
    params = optax.apply_updates(state.params, updates)
    sums |= {"grad_norm": jnp.linalg.norm(ravel_pytree(grads)[0]), "steps": jnp.ones((), jnp.float32)}
    return TrainState(
      step=state.step + 1,
      params=params,
      batch_stats=batch_stats,
      optimizer=optimizer_state,
      ema=_average(state.ema, {"params": params, "batch_stats": batch_stats}, config.ema_decay, state.step),
      metrics=jax.tree.map(jnp.add, state.metrics, sums),
    )

  return update


def _average(ema, new, decay, step):
  """Moves the averages towards the new arrays; faster at first, so that the start is forgotten (as TensorFlow does)."""
  if not ema:
    return ema
  decay = jnp.minimum(decay, (1 + step) / (10 + step))
  return jax.tree.map(lambda a, b: decay * a + (1 - decay) * b, ema, new)


def make_answer(network: Network, config, dtype):
  """The function (params, batch_stats, inputs) -> logits, in evaluation mode, of inputs as a batch has them."""

  def answer(params, batch_stats, inputs):
    module = network.module(params, batch_stats)
    module.eval()
    return module(normalize(inputs, config.data.mean, config.data.std, dtype))

  return answer


def make_eval_step(network: Network, task: ModuleType, config, dtype):
  """The function (params, batch_stats, batch) -> sums over the examples of the batch that are not padding."""
  answer = make_answer(network, config, dtype)

  def eval_step(params, batch_stats, batch):
    outputs = answer(params, batch_stats, batch["input"])
    return task.sums(outputs, batch, task.losses(outputs, batch))

  return eval_step

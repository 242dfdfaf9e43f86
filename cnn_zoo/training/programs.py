"""The jitted functions of a run: its first state, a training step and an evaluation."""

import contextlib
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from cnn_zoo import convolutions, data
from cnn_zoo.describe.least_input import least_input
from cnn_zoo.errors import InputTooSmallError, UserError
from cnn_zoo.tasks import get_task
from cnn_zoo.training import setup
from cnn_zoo.training.mesh import replicate, replicated, shard_batch, sharded
from cnn_zoo.training.optimizers import create_optimizer
from cnn_zoo.training.state import TrainState, as_floats, initial_state, zero_metrics
from cnn_zoo.training.step import make_answer, make_eval_step, make_gradient, make_update


class Programs:
  """What a configuration computes on a mesh.

  Attributes:
    task: what the labels mean.
    network: the model, taken apart.
    info: what is known of the dataset before it is open.
    dtype: what it computes in.
    shapes: the state's shapes, dtypes and shardings, for `Checkpoints.restore`.
  """

  def __init__(self, config: ConfigDict, mesh: Mesh, *, prepared: bool = True):
    """Builds the model; nothing is compiled yet, and the dataset need not be open, unless `prepared` not even there."""
    self._config, self._mesh = config, mesh
    self.info = data.dataset_info(config.data, prepared=prepared)
    self.task = get_task(config.task)
    setup.check_task(config, self.info)
    self.network = setup.build_network(config, self.info.num_classes, self.info.channels)
    self.dtype = setup.compute_dtype(config)
    self._zero_sums = self.task.zero_sums(self.info.num_classes)
    everywhere = replicated(mesh)

    def fresh(params, batch_stats):
      optimizer = create_optimizer(config.optimizer, 0.0)
      return initial_state(params, batch_stats, optimizer, config.ema_decay > 0, self._zero_sums)

    self._fresh = jax.jit(fresh, out_shardings=everywhere)
    self._gradient = jax.jit(
      make_gradient(self.network, self.task, config, self.dtype),
      in_shardings=(everywhere, everywhere, None, everywhere, sharded(mesh)),
      out_shardings=everywhere,
    )
    self._update = jax.jit(make_update(config), out_shardings=everywhere, donate_argnums=0)
    self._answer = jax.jit(make_answer(self.network, config, self.dtype), out_shardings=everywhere)
    self._eval_step = jax.jit(make_eval_step(self.network, self.task, config, self.dtype), out_shardings=everywhere)
    self.shapes = jax.tree.map(
      lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=everywhere),
      jax.eval_shape(fresh, self.network.params, self.network.batch_stats),
    )

  def no_metrics(self) -> dict[str, jax.Array]:
    """What `TrainState.metrics` is after metrics were written."""
    return replicate(zero_metrics(self._zero_sums), self._mesh)

  def initial_state(self) -> TrainState:
    """The state before the first step."""
    return self._fresh(self.network.params, self.network.batch_stats)

  def compile_train_step(self) -> "Future[Callable]":
    """Traces the step (state, batch, learning rate) -> state now; threads beside the caller compile it."""
    threads = ThreadPoolExecutor(3)
    state = self.shapes
    sums, rate = jax.eval_shape(lambda: as_floats(self._zero_sums)), jax.ShapeDtypeStruct((), jnp.float32)
    batch = data.batch_shapes(self._config.data, self._config.batch_size, self.info)
    update = threads.submit(self._update.lower(state, state.params, state.batch_stats, sums, rate).compile)
    seed = np.uint32(self._config.seed)
    with self._mistakes_explained():
      gradient = self._gradient.lower(state.params, state.batch_stats, seed, state.step, batch)
    gradient = threads.submit(gradient.compile)

    def compiled():
      compute_gradient, apply_update = gradient.result(), update.result()

      def train_step(state, batch, learning_rate):
        grads = compute_gradient(state.params, state.batch_stats, seed, state.step, batch)
        return apply_update(state, *grads, learning_rate)

      return train_step

    return threads.submit(compiled)

  @contextlib.contextmanager
  def _mistakes_explained(self):
    """Within the context, what a layer says of its input is said of the configuration."""
    try:
      yield
    except InputTooSmallError as error:
      raise self._too_small(error) from None
    except UserError as error:
      if str(error).startswith("config."):
        raise
      config = self._config
      raise UserError(
        f"config.model.name={config.model.name!r} does not fit config.data.name={config.data.name!r}: {error}"
      ) from None

  def _too_small(self, error):
    """What to say of inputs that a layer finds too small: which layer, which field and its least value."""
    config, module = self._config, self.network.module(self.network.params, self.network.batch_stats)
    fields = data.size_fields(self.info.kind)
    with convolutions.lowering("lax"):
      limit = least_input(module, data.input_shape(config.data, self.info), fields)
    if limit is None:
      return error
    least = " and ".join(f"config.data.{field} of at least {size}" for field, size in limit.sizes.items())
    given = ", ".join(f"config.data.{field}={config.data[field]}" for field in limit.sizes)
    return UserError(
      f"{given} is too small for config.model.name={config.model.name!r}: nothing would be left for "
      f"{limit.layer}; valid: {least}"
    )

  def answers(self, weights: dict, inputs: np.ndarray) -> jax.Array:
    """What the model answers to inputs [batch, *spatial, channels] as they are stored: logits."""
    with self._mistakes_explained():
      return self._answer(**weights, inputs=inputs)

  def evaluate(self, weights: dict, dataset: data.Dataset) -> dict[str, float]:
    """The task's metrics over the test set: every example exactly once, whatever the batch size and the devices.

    Args:
      weights: {"params", "batch_stats"}, replicated.
      dataset: what to evaluate on. Batches of config.eval.batch_size are rounded up to a multiple of the devices;
        padding is masked, and the sums of batches are added in float64 on the host.
    """
    size = self._config.eval.batch_size
    if size < 1:
      raise UserError(f"config.eval.batch_size={size} must be at least 1")
    batches = data.evaluation_batches(
      dataset,
      self._config.data,
      split="test",
      batch_size=-(-size // self._mesh.size) * self._mesh.size,
      process_index=jax.process_index(),
      process_count=jax.process_count(),
    )
    with self._mistakes_explained():
      sums = [self._eval_step(**weights, batch=shard_batch(batch, self._mesh)) for batch in batches]
    sums = jax.device_get(sums)
    return self.task.metrics({name: np.sum([s[name] for s in sums], 0, np.float64) for name in sums[0]})


def evaluated_weights(state: TrainState, ema: bool = True) -> dict:
  """{"params", "batch_stats"} of the averaged weights if there are any and `ema`, else of the raw ones."""
  return state.ema if ema and state.ema else {"params": state.params, "batch_stats": state.batch_stats}

"""The jitted functions of a run: its initial state, a training step and an evaluation."""

import contextlib
import functools
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from cnn_zoo import convolutions, data
from cnn_zoo.describe.least_input import least_input
from cnn_zoo.errors import BatchTooSmallError, InputTooSmallError, UserError
from cnn_zoo.tasks import get_task
from cnn_zoo.training.mesh import platform, replicate, replicated, shard_batch, sharded
from cnn_zoo.training.network import build_network, compute_dtype
from cnn_zoo.training.optimizers import create_optimizer
from cnn_zoo.training.state import TrainState, initial_state, zero_metrics
from cnn_zoo.training.step import is_finite, make_answer, make_eval_step, make_train_step


def enable_compilation_cache(config: ConfigDict) -> None:
  """Keeps compiled programs in `config.compilation_cache`, so that the same run starts faster the next time."""
  if config.compilation_cache:
    jax.config.update("jax_compilation_cache_dir", str(Path(config.compilation_cache).expanduser()))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


class Programs:
  """What a configuration computes on a mesh.

  Attributes:
    task: the module of `cnn_zoo.tasks` that says what the labels mean.
    network: the model.
    info: what is known of the dataset before it is open.
    dtype: what the model computes in.
    shapes: the state's shapes, dtypes and shardings, for `Checkpoints.restore`.
  """

  def __init__(self, config: ConfigDict, mesh: Mesh, *, prepared: bool = True):
    """Builds the model; nothing is compiled yet.

    Args:
      config: the run's configuration.
      mesh: of all devices.
      prepared: whether the dataset must be prepared; without, the names of its classes may be missing.
    """
    self._config, self._mesh = config, mesh
    self.info = data.dataset_info(config.data, prepared=prepared)
    self.task = get_task(config.task)
    self.dtype = compute_dtype(config, platform(mesh))
    self.network = build_network(config, self.info.num_classes, self.info.channels, self.dtype)
    self._zero_sums = self.task.zero_sums(self.info.num_classes)
    everywhere = replicated(mesh)

    def fresh(params, batch_stats):
      optimizer = create_optimizer(config.optimizer, 0.0)
      return initial_state(params, batch_stats, optimizer, config.ema_decay > 0, self._zero_sums)

    model = self.network, self.task, config, self.dtype
    self._fresh = jax.jit(fresh, out_shardings=everywhere)
    self._train_step = jax.jit(
      make_train_step(*model),
      in_shardings=(everywhere, None, sharded(mesh), None),
      out_shardings=everywhere,
      donate_argnums=0,
    )
    self._answer = jax.jit(make_answer(self.network, config, self.dtype), out_shardings=everywhere)
    self._eval_step = jax.jit(make_eval_step(*model), out_shardings=everywhere)
    self._is_finite = jax.jit(is_finite, out_shardings=everywhere)
    self.shapes = jax.tree.map(
      lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=everywhere),
      jax.eval_shape(fresh, self.network.params, self.network.batch_stats),
    )

  @property
  def weight_shapes(self) -> dict:
    """Those of the weights, {"params", "batch_stats"}, in `shapes`."""
    return {"params": self.shapes.params, "batch_stats": self.shapes.batch_stats}

  def no_metrics(self) -> dict[str, jax.Array]:
    """What `TrainState.metrics` is after metrics were written."""
    return replicate(zero_metrics(self._zero_sums), self._mesh)

  def initial_state(self) -> TrainState:
    """The state before the first step."""
    return self._fresh(self.network.params, self.network.batch_stats)

  def is_finite(self, state: TrainState) -> bool:
    """Whether all numbers of the state are finite. In a job of several processes all must call it."""
    return bool(self._is_finite(state))

  def compile_train_step(self) -> "Future[Callable]":
    """Traces the step (state, batch, learning_rate) -> state now, and compiles it in a thread.

    The step overwrites the state that it is given. With JAX_DISABLE_JIT there is nothing to compile.
    """
    seed = np.uint32(self._config.seed)
    if jax.config.jax_disable_jit:  # ty: ignore[missing-attribute]
      result = Future()
      result.set_result(functools.partial(self._uncompiled_step, seed))
      return result
    batch = data.batch_shapes(self._config.data, self._config.batch_size, self.info)
    with self._tracing():
      lowered = self._train_step.lower(self.shapes, seed, batch, jax.ShapeDtypeStruct((), jnp.float32))

    def compile_step():
      compiled = lowered.compile()
      return lambda state, batch, learning_rate: compiled(state, seed, batch, learning_rate)

    return ThreadPoolExecutor(1).submit(compile_step)

  def _uncompiled_step(self, seed, state, batch, learning_rate):
    with self._tracing():
      return self._train_step(state, seed, batch, learning_rate)

  @contextlib.contextmanager
  def _tracing(self):
    """The context in which functions are traced.

    It chooses the lowering of convolutions, and where a layer does not fit its input, the message names the config.
    """
    try:
      with convolutions.lowering(self._config.convolution_lowering, platform=platform(self._mesh)):
        yield
    except InputTooSmallError as error:
      raise self._too_small(error) from None
    except BatchTooSmallError as error:
      config = self._config
      batch = f"config.batch_size={config.batch_size} with config.accumulate={config.accumulate}"
      given = "config.batch_norm.group_size=1" if config.batch_norm.group_size == 1 else batch
      raise UserError(f"{given} is too small: {error}") from None
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
    """The logits of the model, in evaluation mode.

    Args:
      weights: {"params", "batch_stats"}.
      inputs: `[batch, *spatial, channels]` as a dataset has them, uint8 pixels or int16 samples.
    """
    with self._tracing():
      return self._answer(**weights, inputs=inputs)

  def evaluate(self, weights: dict, dataset: data.Dataset, split: str) -> dict[str, float]:
    """The task's metrics over a split: every example exactly once, whatever the batch size and the devices.

    Args:
      weights: {"params", "batch_stats"}, replicated.
      dataset: what to evaluate on. Batches of config.eval.batch_size are rounded up to a multiple of the devices;
        padding is masked, and the sums of batches are added in float64 on the host.
      split: "validation" or "test".
    """
    batches = data.evaluation_batches(
      dataset,
      self._config.data,
      split=split,
      batch_size=-(-self._config.eval.batch_size // self._mesh.size) * self._mesh.size,
      process_index=jax.process_index(),
      process_count=jax.process_count(),
    )
    with self._tracing():
      sums = [self._eval_step(**weights, batch=shard_batch(batch, self._mesh)) for batch in batches]
    sums = jax.device_get(sums)
    return self.task.metrics({name: np.sum([s[name] for s in sums], 0, np.float64) for name in sums[0]})


def evaluated_weights(state: TrainState, ema: bool = True) -> dict:
  """{"params", "batch_stats"} of the averaged weights if there are any and `ema`, else of the raw ones."""
  return state.ema if ema and state.ema else {"params": state.params, "batch_stats": state.batch_stats}

"""What a training run carries from step to step, as one pytree."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class TrainState:
  """Everything that a step reads and writes.

  Attributes:
    step: steps done, int32 scalar.
    params: learned arrays, nested as the model's modules are.
    batch_stats: running statistics of normalisation layers.
    optimizer: optax's state.
    ema: averages of {"params", "batch_stats"}, or {} where config.ema_decay is 0.
    metrics: sums since training metrics were last written; kept here so that a resumed run writes the same ones.

  Example:
    >>> params = {"kernel": jnp.ones((2, 3))}
    >>> state = initial_state(params, {}, optax.sgd(0.1), ema=True, zero_sums={})
    >>> int(state.step), sorted(state.ema), sorted(state.metrics)
    (0, ['batch_stats', 'params'], ['grad_norm', 'steps'])
  """

  step: jax.Array
  params: Any
  batch_stats: Any
  optimizer: Any
  ema: Any
  metrics: dict[str, jax.Array]


def tensor_name(path: Sequence) -> str:
  """The name of an array of {"params", "batch_stats"}, such as "blocks.3.expand.kernel", from its path."""
  return ".".join(str(getattr(key, "key", getattr(key, "idx", key))) for key in path[1:])


def tensor_shapes(weights: dict) -> dict[str, tuple[int, ...]]:
  """{name: shape} of all arrays of {"params", "batch_stats"}, of numbers or of shapes alone."""
  return {tensor_name(path): tuple(x.shape) for path, x in jax.tree.leaves_with_path(weights)}


def as_floats(sums: dict[str, Any]) -> dict[str, Any]:
  """Sums as training adds them up over steps: float32, because counts over many steps can exceed int32."""
  return jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), sums)


def zero_metrics(zero_sums: dict[str, Any]) -> dict[str, Any]:
  """What a state holds before the first step, of a task's `zero_sums`."""
  return as_floats({**zero_sums, **STEP_SUMS})


STEP_SUMS = dict.fromkeys(("grad_norm", "steps"), np.float32(0))
"""What is summed over steps, besides the task's sums over examples: the norm of the gradient, and one."""


def initial_state(
  params, batch_stats, optimizer: optax.GradientTransformation, ema: bool, zero_sums: dict[str, Any]
) -> TrainState:
  """The state before the first step. Call it inside `jit` or `eval_shape`."""
  return TrainState(
    step=jnp.zeros((), jnp.int32),
    params=params,
    batch_stats=batch_stats,
    optimizer=optimizer.init(params),
    ema={"params": params, "batch_stats": batch_stats} if ema else {},
    metrics=zero_metrics(zero_sums),
  )

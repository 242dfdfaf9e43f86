"""The model that a configuration describes, taken apart into its graph and its arrays."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from ml_collections import ConfigDict

from cnn_zoo.layers import configure_batch_norm
from cnn_zoo.models import create_model

_DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}


class Network:
  """A model taken apart: its graph, which is code, and its arrays, which the state holds."""

  def __init__(self, model: nnx.Module):
    """Takes `model` apart; `params` and `batch_stats` are its initial arrays."""
    self._graph, *states = nnx.split(model, nnx.Param, nnx.BatchStat, ...)
    self.params, self.batch_stats, self._rest = map(nnx.to_pure_dict, states)

  def module(self, params: Any, batch_stats: Any) -> nnx.Module:
    """The model put together from these arrays, in training mode."""
    return nnx.merge(self._graph, params, batch_stats, self._rest)


def compute_dtype(config: ConfigDict, platform: str):
  """What the model computes in: `config.dtype`, where "auto" is bfloat16 on GPUs and TPUs and float32 on CPUs."""
  if config.dtype == "auto":
    return jnp.float32 if platform == "cpu" else jnp.bfloat16
  return _DTYPES[config.dtype]


def build_network(config: ConfigDict, num_classes: int, channels: int, dtype=jnp.float32) -> Network:
  """The model that `config.model` describes, initialised from `config.seed`."""
  options = config.model.to_dict()
  name = options.pop("name")
  rngs = nnx.Rngs(params=config.seed, dropout=config.seed)
  model = create_model(
    name,
    num_classes=num_classes,
    in_channels=channels,
    dtype=dtype,
    rngs=rngs,
    **{option: value for option, value in options.items() if value is not None},
  )
  configure_batch_norm(model, momentum=config.batch_norm.momentum, group_size=config.batch_norm.group_size)
  return Network(model)


def count_parameters(network: Network) -> int:
  """How many numbers are learned."""
  return sum(np.size(p) for p in jax.tree.leaves(network.params))

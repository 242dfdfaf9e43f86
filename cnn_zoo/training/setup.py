"""What a configuration describes: the model, its dtype, the compilation cache."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from ml_collections import ConfigDict

from cnn_zoo import data
from cnn_zoo.errors import UserError
from cnn_zoo.layers import configure_batch_norm
from cnn_zoo.models import create_model
from cnn_zoo.training.state import Network

_DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}


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


def check_task(config: ConfigDict, info: data.DatasetInfo) -> None:
  """Raises UserError unless the dataset has what the task needs."""
  if config.task != info.task:
    raise UserError(
      f"config.task={config.task!r} does not fit config.data.name={config.data.name!r}; valid: {info.task}"
    )


def count_parameters(network: Network) -> int:
  """How many numbers are learned."""
  return sum(np.size(p) for p in jax.tree.leaves(network.params))


def enable_compilation_cache(config: ConfigDict) -> None:
  """Keeps compiled programs in `config.compilation_cache`, so that the same run starts faster the next time."""
  if config.compilation_cache:
    jax.config.update("jax_compilation_cache_dir", str(Path(config.compilation_cache).expanduser()))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)

"""From a configuration to the things that it describes; what train.py and eval.py share."""

import json
import math
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from ml_collections import ConfigDict

from cnn_zoo import data
from cnn_zoo.errors import UserError, check_name
from cnn_zoo.layers import configure_batch_norm
from cnn_zoo.models import create_model
from cnn_zoo.training.state import Network

_DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}

# Fields that may differ when a run is resumed: they change where and how fast, not what is computed.
FREE_FIELDS = (
  "compilation_cache",
  "convolution_lowering",
  "data.directory",
  "data.workers",
  "checkpoint.every_steps",
  "checkpoint.keep",
  "eval.batch_size",
  "on_nan",
  "epochs",
  "steps",
  "schedule.extend",
)


def compute_dtype(config: ConfigDict, platform: str):
  """What the model computes in: `config.dtype`, where "auto" is bfloat16 on GPUs and TPUs and float32 on CPUs."""
  check_name("config.dtype", config.dtype, [*_DTYPES, "auto"])
  if config.dtype == "auto":
    return jnp.float32 if platform == "cpu" else jnp.bfloat16
  return _DTYPES[config.dtype]


def build_network(config: ConfigDict, num_classes: int, channels: int, dtype=jnp.float32) -> Network:
  """The model that `config.model` describes, with weights drawn from `config.seed`."""
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


def check_settings(config: ConfigDict) -> None:
  """Raises UserError for numbers that mean nothing; names are checked where they are looked up."""
  check_name("config.on_nan", config.on_nan, ("stop", "continue"))
  least = {
    "epochs": (config.epochs, 0, config.steps is not None),
    "steps": (config.steps, 1, True),
    "log_every_steps": (config.log_every_steps, 1, True),
    "checkpoint.every_steps": (config.checkpoint.every_steps, 1, True),
    "checkpoint.keep": (config.checkpoint.keep, 1, True),
    "eval.every_epochs": (config.eval.every_epochs, 0, False),
    "eval.batch_size": (config.eval.batch_size, 1, True),
    "data.image_size": (config.data.image_size, 1, True),
    "data.frames": (config.data.frames, 1, True),
    "data.samples": (config.data.samples, 1, True),
    "data.workers": (config.data.workers, 0, True),
    "batch_norm.group_size": (config.batch_norm.group_size, 1, True),
    "optimizer.learning_rate": (config.optimizer.learning_rate, 0, True),
    "seed": (config.seed, 0, True),
  }
  for field, (value, limit, included) in least.items():
    if value is not None and not (value >= limit if included else value > limit):
      raise UserError(f"config.{field}={value} must be {'at least' if included else 'above'} {limit}")
  if not math.isfinite(config.epochs):
    raise UserError(f"config.epochs={config.epochs} must be a finite number")
  if config.seed >= 2**32:
    raise UserError(f"config.seed={config.seed} must be below 2^32")
  if not 0 <= config.ema_decay < 1:
    raise UserError(f"config.ema_decay={config.ema_decay} must be at least 0 and below 1")
  if not 0 <= config.label_smoothing < 1:
    raise UserError(f"config.label_smoothing={config.label_smoothing} must be at least 0 and below 1")


def check_same_run(saved: dict, config: ConfigDict, workdir: Path) -> None:
  """Raises UserError if the run in `workdir`, configured as `saved`, is not the one that `config` describes."""
  changed = differences(saved, config)
  if changed:
    more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
    raise UserError(
      f"workdir={str(workdir)!r} holds another run ({'; '.join(changed[:3])}{more}); give another --workdir"
    )


def differences(saved: dict, config: ConfigDict) -> list[str]:
  """Where `config` differs from a saved one so that the run would not be the same: 'field: old -> new'."""
  new = _flat(json.loads(json.dumps(config.to_dict())))
  old = _flat(saved)
  fields = sorted(new | old, key=lambda field: not field.startswith("model."))  # another model says the most
  return [
    f"{field}: {old.get(field)!r} -> {new.get(field)!r}"
    for field in fields
    if old.get(field) != new.get(field) and field not in FREE_FIELDS
  ]


def _flat(tree: dict, prefix: str = "") -> dict:
  flat = {}
  for key, value in tree.items():
    flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
  return flat

"""The model that a configuration describes, split into its graph and its arrays."""

import contextlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from ml_collections import ConfigDict

from cnn_zoo.errors import UserError
from cnn_zoo.layers import configure_batch_norm
from cnn_zoo.models import abstract_model, create_model
from cnn_zoo.training.fields import option_error

_DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}


class Network:
  """A model split into its graph, which is code, and its arrays, which the state holds.

  Args:
    model: it is not changed.

  Attributes:
    params: initial values of what is learned, nested as the model's modules are.
    batch_stats: initial running statistics of its normalisation layers.

  >>> network = Network(nnx.Linear(2, 3, rngs=nnx.Rngs(0)))
  >>> network.params["kernel"].shape, network.module(network.params, network.batch_stats)(jnp.ones((1, 2))).shape
  ((2, 3), (1, 3))
  """

  def __init__(self, model: nnx.Module):
    self._graph, *states = nnx.split(model, nnx.Param, nnx.BatchStat, ...)
    self.params, self.batch_stats, self._rest = map(nnx.to_pure_dict, states)

  def module(self, params: Any, batch_stats: Any) -> nnx.Module:
    """The model with these arrays, in training mode."""
    return nnx.merge(self._graph, params, batch_stats, self._rest)


def compute_dtype(config: ConfigDict, platform: str):
  """What the model computes in.

  Args:
    config: its dtype is "float32", "bfloat16" or "auto": bfloat16 on GPUs and TPUs, float32 on CPUs.
    platform: of the devices: "cpu", "gpu" or "tpu".

  Returns:
    `jnp.float32` or `jnp.bfloat16`.

  >>> compute_dtype(ConfigDict({"dtype": "auto"}), "tpu").__name__
  'bfloat16'
  """
  if config.dtype == "auto":
    return jnp.float32 if platform == "cpu" else jnp.bfloat16
  return _DTYPES[config.dtype]


def configured_model(
  config: ConfigDict, num_classes: int, channels: int, dtype=jnp.float32, create: Callable = create_model, **options
) -> nnx.Module:
  """The model of `config.model`, with the architecture's own batch normalisation.

  Args:
    config: of which `model` is read.
    num_classes: width of the logits.
    channels: of the input.
    dtype: what the model computes in.
    create: `create_model`, or `abstract_model` for shapes instead of numbers.
    **options: of `create`, such as `rngs`.

  Returns:
    The model.

  Raises:
    UserError: an option of `config.model` is not valid; the message starts with `config.model.OPTION=VALUE`.

  >>> from cnn_zoo.models import abstract_model
  >>> configured_model(ConfigDict({"model": {"name": "unet", "depth": 0}}), 2, 1, create=abstract_model)
  Traceback (most recent call last):
  cnn_zoo.errors.UserError: config.model.depth=0 must be at least 1
  """
  given = {option: value for option, value in config.model.to_dict().items() if value is not None}
  name = given.pop("name")
  sizes = {"num_classes": num_classes, "in_channels": channels, "dtype": dtype}
  try:
    return create(name, **sizes, **given, **options)
  except UserError as error:
    option = _wrong_option(name, sizes, given, error)
    raise (error if option is None else option_error(option, given[option], error)) from None


def _wrong_option(name, sizes, given, error):
  """The option that `error` is about: the one that it begins with, or without which there is no error; else None."""
  for option in given:
    if str(error).startswith(f"{option}="):
      return option
  for option in given:
    with contextlib.suppress(UserError):
      abstract_model(name, **sizes, **{other: value for other, value in given.items() if other != option})
      return option
  return None


def build_network(config: ConfigDict, num_classes: int, channels: int, dtype=jnp.float32) -> Network:
  """The model that a configuration describes, initialised from its seed.

  Args:
    config: of which `model`, `seed` and `batch_norm` are read.
    num_classes: width of the logits.
    channels: of the input.
    dtype: what the model computes in; parameters are float32.

  Returns:
    The model, split.

  Raises:
    UserError: an option of `config.model` is not valid.
  """
  rngs = nnx.Rngs(params=config.seed, dropout=config.seed)
  model = configured_model(config, num_classes, channels, dtype, rngs=rngs)
  configure_batch_norm(model, momentum=config.batch_norm.momentum, group_size=config.batch_norm.group_size)
  return Network(model)


def count_parameters(network: Network) -> int:
  """The number of values that are learned.

  >>> count_parameters(Network(nnx.Linear(2, 3, rngs=nnx.Rngs(0))))
  9
  """
  return sum(np.size(p) for p in jax.tree.leaves(network.params))

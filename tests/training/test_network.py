"""The model that a configuration describes."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from cnn_zoo.errors import UserError
from cnn_zoo.layers import BatchNorm
from cnn_zoo.models import abstract_model
from cnn_zoo.training.network import build_network, compute_dtype, configured_model, count_parameters
from cnn_zoo.training.settings import default_config


@pytest.mark.parametrize(
  ("dtype", "platform", "expected"),
  [
    ("auto", "cpu", jnp.float32),
    ("auto", "gpu", jnp.bfloat16),
    ("auto", "tpu", jnp.bfloat16),
    ("bfloat16", "cpu", jnp.bfloat16),
    ("float32", "tpu", jnp.float32),
  ],
)
def test_dtype(dtype, platform, expected):
  config = default_config()
  config.dtype = dtype
  assert compute_dtype(config, platform) is expected


def kernel(network):
  return np.asarray(network.params["conv1"]["kernel"])


def test_the_seed_initialises():
  """The same seed gives the same values, and another one others; nothing else of the run has a part in it."""
  config = default_config("lenet_maxpool")
  first, again = (build_network(config, 10, 1) for _ in range(2))
  config.update(seed=1, batch_size=8)
  other = build_network(config, 10, 1)
  assert np.array_equal(kernel(first), kernel(again)) and not np.array_equal(kernel(first), kernel(other))
  assert count_parameters(first) == count_parameters(other) > 0


def test_options_and_normalisation():
  config = default_config("mobilenet_v2")
  config.model.width = 0.25
  config.batch_norm.update(momentum=0.5, group_size=4)
  network = build_network(config, 10, 1, jnp.bfloat16)
  module = network.module(network.params, network.batch_stats)
  norms = [layer for _, layer in nnx.iter_modules(module) if isinstance(layer, BatchNorm)]
  assert len(norms) > 10 and {(norm.momentum, norm.group_size) for norm in norms} == {(0.5, 4)}
  assert {x.dtype for x in jax.tree.leaves(network.params)} == {jnp.dtype("float32")}
  assert count_parameters(network) < count_parameters(build_network(default_config("mobilenet_v2"), 10, 1)) / 4


@pytest.mark.parametrize(
  ("name", "option", "value", "says"),
  [
    ("unet", "upsampling", "x", "='x' is not known; valid: "),
    ("resnet50", "stride_in", "5x5", "='5x5' is not known; valid: 1x1, 3x3"),
    ("googlenet", "stem", "x", "='x' is not known; valid: separable, standard"),
    ("c3d", "view", "x", "='x' is not known; valid: "),
    ("deeplabv3_resnet50", "output_stride", 7, "=7 must be 8 or 16"),
    ("mobilenet_v2", "width", -1.0, "=-1.0 must be above 0"),
    ("vgg11", "dropout_rate", 2.0, "=2.0 is not valid: rate=2.0 of Dropout must be at least 0 and below 1"),
    ("alexnet", "hidden_features", 0, "=0 is not valid: in_features="),
    ("lenet5", "convolution", "grouped", "='grouped' cannot replace c1 "),
    ("lenet5", "convolution", "dilated:keep=c7", "='dilated:keep=c7' is not valid: convolution keep='c7' is no layer"),
  ],
)
def test_an_option_that_is_not_valid_is_named_as_a_field(name, option, value, says):
  config = default_config(name)
  config.model[option] = value
  if "rank" in config.model:
    config.model.rank = 2  # valid, and not named
  with pytest.raises(UserError, match=re.escape(f"config.model.{option}{says}")) as error:
    configured_model(config, 10, 1, create=abstract_model)
  assert str(error.value).startswith("config.model.")

"""GoogLeNet (Szegedy et al. 2014, Going Deeper with Convolutions): torchvision's, whose weights fit, and the paper's.

Where torchvision's differs from the paper (batch normalisation instead of local response normalisation and biases, a
3 x 3 convolution in the branch that the paper calls 5 x 5, ...) is listed in `Version`.
"""

import functools
from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from cnn_zoo.convolutions import DepthwiseSeparableConvolution
from cnn_zoo.convolutions.initializers import Initializer, constant, lecun_uniform, normal, uniform_fan_in, zeros
from cnn_zoo.errors import check_name
from cnn_zoo.layers import (
  BatchNorm,
  ConvNorm,
  Dropout,
  Linear,
  adaptive_average_pool,
  average_pool,
  global_average_pool,
  local_response_normalization,
  max_pool,
  run_blocks,
)
from cnn_zoo.models.network import Network, last
from cnn_zoo.models.registry import register


class Channels(NamedTuple):
  """A row of Table 1: the channels of an inception block's convolutions."""

  conv_1x1: int
  reduce_3x3: int
  conv_3x3: int
  reduce_5x5: int
  conv_5x5: int
  projection: int  # 1 x 1 after the max-pooling

  @property
  def outputs(self) -> int:
    """Channels of the four concatenated branches."""
    return self.conv_1x1 + self.conv_3x3 + self.conv_5x5 + self.projection


STEM = (64, 64, 192)  # channels of the 7 x 7 convolution, the 1 x 1 one ("3 x 3 reduce") and the 3 x 3 one
STEM_MULTIPLIER = 8  # of the separable stem: 3 * 8 * 49 + 24 * 64 = 2,712 weights, the 2.7K of Table 1
BLOCKS = {
  "3a": Channels(64, 96, 128, 16, 32, 32),
  "3b": Channels(128, 128, 192, 32, 96, 64),
  "4a": Channels(192, 96, 208, 16, 48, 64),
  "4b": Channels(160, 112, 224, 24, 64, 64),
  "4c": Channels(128, 128, 256, 24, 64, 64),
  "4d": Channels(112, 144, 288, 32, 64, 64),
  "4e": Channels(256, 160, 320, 32, 128, 128),
  "5a": Channels(256, 160, 320, 32, 128, 128),
  "5b": Channels(384, 192, 384, 48, 128, 128),
}
POOLED = ("3b", "4e")  # max-pooling of stride 2 follows
CLASSIFIED = ("4a", "4d")  # what the auxiliary classifiers see (section 5)
AUXILIARY_CELLS, AUXILIARY_CHANNELS, AUXILIARY_UNITS, AUXILIARY_DROPOUT = 4, 128, 1024, 0.7


class Version(NamedTuple):
  """What torchvision's network and the paper's do not have in common."""

  batch_norm: bool  # after every convolution, which then has no bias
  response_norm: bool  # local response normalisation after the stem's pooling and its last convolution
  kernel_5x5: int  # of the branch that the paper calls 5 x 5
  last_pool: int  # window of the pooling after 4e
  auxiliary_pool: bool  # auxiliary classifiers average over 5 x 5 with stride 3; torchvision's over a grid, as needed
  dropout_rate: float  # before the classifier
  kernel_init: Initializer
  bias_init: Initializer  # of convolutions, where they have a bias, and of the auxiliary classifiers' hidden layers
  classifier_bias_init: Initializer


VERSIONS = {
  "googlenet": Version(
    batch_norm=True,
    response_norm=False,
    kernel_5x5=3,
    last_pool=2,
    auxiliary_pool=False,
    dropout_rate=0.2,
    kernel_init=normal(0.01),
    bias_init=uniform_fan_in,
    classifier_bias_init=uniform_fan_in,
  ),
  # The paper does not say how it starts; these are Caffe's replication's initial values.
  "googlenet_paper": Version(
    batch_norm=False,
    response_norm=True,
    kernel_5x5=5,
    last_pool=3,
    auxiliary_pool=True,
    dropout_rate=0.4,
    kernel_init=lecun_uniform,
    bias_init=constant(0.2),
    classifier_bias_init=zeros,
  ),
}
EPSILON = 1e-3  # of batch normalisation


def unit_of(version: Version, rngs: nnx.Rngs) -> Callable[..., ConvNorm]:
  """The unit of `version`: a convolution, batch normalisation in torchvision's version, and ReLU."""
  norm = functools.partial(BatchNorm, epsilon=EPSILON) if version.batch_norm else None
  return functools.partial(ConvNorm, norm=norm, kernel_init=version.kernel_init, bias_init=version.bias_init, rngs=rngs)


class Inception(nnx.Module):
  """Figure 2b: 1 x 1, 3 x 3 and 5 x 5 convolutions and max-pooling of the same map; the outputs are concatenated."""

  def __init__(self, in_channels, channels: Channels, *, version: Version, rank: int, rngs):
    unit, one = unit_of(version, rngs), (1,) * rank
    self.conv_1x1 = unit(in_channels, channels.conv_1x1, one)
    self.reduce_3x3 = unit(in_channels, channels.reduce_3x3, one)
    self.conv_3x3 = unit(channels.reduce_3x3, channels.conv_3x3, (3,) * rank)
    self.reduce_5x5 = unit(in_channels, channels.reduce_5x5, one)
    self.conv_5x5 = unit(channels.reduce_5x5, channels.conv_5x5, (version.kernel_5x5,) * rank)
    self.projection = unit(in_channels, channels.projection, one)

  def __call__(self, x):
    """x [batch, *spatial, in_channels] -> [batch, *spatial, channels.outputs]."""
    branches = (
      self.conv_1x1(x),
      self.conv_3x3(self.reduce_3x3(x)),
      self.conv_5x5(self.reduce_5x5(x)),
      self.projection(max_pool(x, (3,) * (x.ndim - 2), 1, 1)),
    )
    return jnp.concatenate(branches, -1)


class AuxiliaryClassifier(nnx.Module):
  """A small network that classifies from an inner map, so that gradients reach the layers below (section 5)."""

  def __init__(self, in_channels, num_classes, *, version: Version, rank: int, rngs):
    self.pooled = version.auxiliary_pool
    self.conv = unit_of(version, rngs)(in_channels, AUXILIARY_CHANNELS, (1,) * rank)
    features = AUXILIARY_CHANNELS * AUXILIARY_CELLS**rank
    init: dict = {"kernel_init": version.kernel_init, "rngs": rngs}
    self.hidden = Linear(features, AUXILIARY_UNITS, bias_init=version.bias_init, **init)
    self.dropout = Dropout(AUXILIARY_DROPOUT, rngs=rngs)
    self.classifier = Linear(AUXILIARY_UNITS, num_classes, bias_init=version.classifier_bias_init, **init)

  def __call__(self, x):
    """x [batch, *spatial, in_channels] -> logits [batch, num_classes], float32."""
    rank = x.ndim - 2
    if self.pooled and min(x.shape[1:-1]) >= 5:
      x = average_pool(x, (5,) * rank, 3)  # of the paper's 14 x 14 that is the grid already
    x = self.conv(adaptive_average_pool(x, (AUXILIARY_CELLS,) * rank))
    x = jax.nn.relu(self.hidden(jnp.moveaxis(x, -1, 1).reshape(x.shape[0], -1)))
    return self.classifier(self.dropout(x)).astype(jnp.float32)


class GoogLeNet(Network):
  """Table 1: 22 layers with weights.

  Features: "conv1" at half the size of the input, "conv3" at a quarter, and the inception blocks: "3a" and "3b" at an
  eighth, "4a" to "4e" at a 16th, "5a" and "5b" at a 32nd.

  Args:
    num_classes, in_channels, dtype, rngs: as `create_model`; num_classes=None leaves the classifier out.
    version: torchvision's or the paper's.
    rank: number of spatial axes.
    aux_heads: two auxiliary classifiers, which run in training only.
    dropout_rate: before the classifier.
    stem: "standard", or "separable" for a depthwise separable first convolution.
    remat: recomputes the inception blocks' inner activations in the backward pass instead of keeping them.
  """

  def __init__(
    self,
    *,
    num_classes: int | None,
    in_channels: int,
    version: Version,
    rank: int = 2,
    aux_heads: bool = False,
    dropout_rate: float = 0.2,
    stem: str = "standard",
    remat: bool = False,
    dtype,
    rngs: nnx.Rngs,
  ):
    check_name("stem", stem, ("standard", "separable"))
    super().__init__(num_classes, dtype)
    self.version, self.remat, self.deterministic = version, remat, False
    unit = unit_of(version, rngs)
    options: dict = {"version": version, "rank": rank, "rngs": rngs}
    separable: dict = {}
    if stem == "separable":
      separable = {"conv": DepthwiseSeparableConvolution, "multiplier": STEM_MULTIPLIER}
    self.conv1 = unit(in_channels, STEM[0], (7,) * rank, strides=2, **separable)
    self.conv2 = unit(STEM[0], STEM[1], (1,) * rank)
    self.conv3 = unit(STEM[1], STEM[2], (3,) * rank)
    inputs = (STEM[2], *(channels.outputs for channels in BLOCKS.values()))
    self.blocks = nnx.List([Inception(*sizes, **options) for sizes in zip(inputs, BLOCKS.values(), strict=False)])
    self.auxiliary = nnx.List()
    if num_classes is not None:
      heads = CLASSIFIED if aux_heads else ()
      self.auxiliary.extend([AuxiliaryClassifier(BLOCKS[name].outputs, num_classes, **options) for name in heads])
      self.dropout = Dropout(dropout_rate, rngs=rngs)
      init: dict = {"kernel_init": version.kernel_init, "bias_init": version.classifier_bias_init, "rngs": rngs}
      self.classifier = Linear(inputs[-1], num_classes, **init)

  def features(self, x: jax.Array) -> OrderedDict[str, jax.Array]:
    """x [batch, *spatial, in_channels] -> the maps of the stem and of the inception blocks."""
    maps = OrderedDict(conv1=self.conv1(x.astype(self.dtype)))
    x = self._normalized(_pool(maps["conv1"], 3))
    maps["conv3"] = x = self._normalized(self.conv3(self.conv2(x)))
    x = _pool(x, 3)
    for name, block in zip(BLOCKS, self.blocks, strict=True):
      maps[name] = x = run_blocks([block], x, remat=self.remat)
      if name in POOLED:
        x = _pool(x, self.version.last_pool if name == POOLED[-1] else 3)
    return maps

  def logits(self, x: jax.Array) -> jax.Array:
    """The map of 5b -> logits [batch, num_classes]."""
    return self.classifier(self.dropout(global_average_pool(x))).astype(jnp.float32)

  def __call__(self, x: jax.Array):
    """x [batch, *spatial, in_channels] -> logits [batch, num_classes], or the features.

    In training with auxiliary classifiers: (logits, (those of 4a, those of 4d)).
    """
    maps = self.features(x)
    if self.num_classes is None:
      return maps
    logits = self.logits(last(maps))
    if self.deterministic or not len(self.auxiliary):
      return logits
    return logits, tuple(head(maps[name]) for name, head in zip(CLASSIFIED, self.auxiliary, strict=True))

  def _normalized(self, x):
    return local_response_normalization(x) if self.version.response_norm else x


def _pool(x, window):
  return max_pool(x, (window,) * (x.ndim - 2), 2, ceil_mode=True)


for _name, _version in VERSIONS.items():
  register(_name, GoogLeNet, defaults={"dropout_rate": _version.dropout_rate}, version=_version)

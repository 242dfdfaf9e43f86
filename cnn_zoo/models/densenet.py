"""DenseNet (Huang et al. 2017, Densely Connected Convolutional Networks), in its form for ImageNet, DenseNet-BC."""

import functools
from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from cnn_zoo.convolutions import Convolution
from cnn_zoo.convolutions.initializers import he_normal_fan_in, uniform_fan_in
from cnn_zoo.errors import UserError
from cnn_zoo.layers import BatchNorm, ConvNorm, Linear, average_pool, global_average_pool, max_pool
from cnn_zoo.models.network import Network
from cnn_zoo.models.registry import register


class Size(NamedTuple):
  """A column of Table 1."""

  growth_rate: int  # k, the channels that each layer adds
  layers: tuple[int, ...]  # of the dense blocks


SIZES = {
  "densenet121": Size(32, (6, 12, 24, 16)),
  "densenet169": Size(32, (6, 12, 32, 32)),
  "densenet201": Size(32, (6, 12, 48, 32)),
  "densenet161": Size(48, (6, 12, 36, 24)),
}
STEM = 2  # the first convolution's channels, in units of k
BOTTLENECK = 4  # channels between a layer's two convolutions, in units of k
COMPRESSION = 2  # a transition divides the channels by it


class DenseLayer(nnx.Module):
  """H of equation 2: normalisation, ReLU and 1 x 1 convolution to 4k channels, then 3 x 3 to k."""

  def __init__(self, in_channels, growth_rate, *, rank, rngs):
    conv = functools.partial(Convolution, use_bias=False, kernel_init=he_normal_fan_in, rngs=rngs)
    width = BOTTLENECK * growth_rate
    self.norm1, self.conv1 = BatchNorm(in_channels), conv(in_channels, width, (1,) * rank)
    self.norm2, self.conv2 = BatchNorm(width), conv(width, growth_rate, (3,) * rank, padding=1)

  def __call__(self, x):
    """x [batch, *spatial, in_channels] -> [batch, *spatial, growth_rate]."""
    x = self.conv1(jax.nn.relu(self.norm1(x)))
    return self.conv2(jax.nn.relu(self.norm2(x)))


class DenseBlock(nnx.Module):
  """Layers each of which sees the block's input and the outputs of all layers before it, concatenated (Figure 1)."""

  def __init__(self, in_channels, growth_rate, layers, *, rank, remat, rngs):
    inputs = [in_channels + growth_rate * layer for layer in range(layers)]
    self.layers = nnx.List([DenseLayer(channels, growth_rate, rank=rank, rngs=rngs) for channels in inputs])
    self.out_channels = in_channels + growth_rate * layers
    self.remat = remat

  def __call__(self, x):
    """x [batch, *spatial, in_channels] -> [batch, *spatial, out_channels]."""
    grow = nnx.remat(_grow) if self.remat else _grow
    pieces = [x]
    for layer in self.layers:
      pieces.append(grow(layer, pieces))
    return jnp.concatenate(pieces, -1)


def _grow(layer, pieces):
  """The layer of the concatenated pieces. Rematerialised, it keeps the pieces alone: memory linear in the depth."""
  return layer(jnp.concatenate(pieces, -1))


class Transition(nnx.Module):
  """Between dense blocks: normalisation, ReLU, 1 x 1 convolution to half the channels, 2 x 2 average pooling."""

  def __init__(self, in_channels, channels, *, rank, rngs):
    self.rank = rank
    self.norm = BatchNorm(in_channels)
    self.conv = Convolution(in_channels, channels, (1,) * rank, use_bias=False, kernel_init=he_normal_fan_in, rngs=rngs)

  def __call__(self, x):
    """x [batch, *spatial, in_channels] -> [batch, *spatial / 2, channels]."""
    return average_pool(self.conv(jax.nn.relu(self.norm(x))), (2,) * self.rank, 2)


class DenseNet(Network):
  """Table 1.

  Features: "stem" at half the size of the input, and "block1" to "block4" at a quarter to a 32nd of it; the last one is
  normalised and activated.

  Args:
    num_classes, in_channels, dtype, rngs: as `create_model`; num_classes=None leaves the classifier out.
    growth_rate: k, the channels that each layer adds.
    layers: of the dense blocks.
    rank: number of spatial axes.
    remat: recomputes the inner activations of each layer, the concatenation included, in the backward pass instead of
      keeping them (Pleiss et al. 2017, Memory-Efficient Implementation of DenseNets).

  Attributes:
    channels: of the maps that `features` returns.
  """

  def __init__(
    self,
    *,
    num_classes: int | None,
    in_channels: int,
    growth_rate: int,
    layers: Sequence[int],
    rank: int = 2,
    remat: bool = False,
    dtype,
    rngs: nnx.Rngs,
  ):
    if growth_rate < 1:
      raise UserError(f"growth_rate={growth_rate} must be at least 1")
    super().__init__(num_classes, dtype)
    features = STEM * growth_rate
    self.stem = ConvNorm(in_channels, features, (7,) * rank, strides=2, kernel_init=he_normal_fan_in, rngs=rngs)
    blocks, transitions = [], []
    for count in layers:
      if blocks:
        transitions.append(Transition(features, features // COMPRESSION, rank=rank, rngs=rngs))
        features //= COMPRESSION
      blocks.append(DenseBlock(features, growth_rate, count, rank=rank, remat=remat, rngs=rngs))
      features = blocks[-1].out_channels
    self.channels = (STEM * growth_rate, *(block.out_channels for block in blocks))
    self.blocks, self.transitions = nnx.List(blocks), nnx.List(transitions)
    self.final_norm = BatchNorm(features)
    if num_classes is not None:
      self.classifier = Linear(features, num_classes, kernel_init=uniform_fan_in, rngs=rngs)

  def features(self, x: jax.Array) -> OrderedDict[str, jax.Array]:
    """x [batch, *spatial, in_channels] -> the maps of the stem and of the dense blocks."""
    maps = OrderedDict(stem=self.stem(x.astype(self.dtype)))
    x = max_pool(maps["stem"], (3,) * (x.ndim - 2), 2, 1)
    for number, block in enumerate(self.blocks, start=1):
      x = block(x)
      last = number == len(self.blocks)
      maps[f"block{number}"] = jax.nn.relu(self.final_norm(x)) if last else x
      x = x if last else self.transitions[number - 1](x)
    return maps

  def logits(self, x: jax.Array) -> jax.Array:
    """The last map -> logits [batch, num_classes]."""
    return self.classifier(global_average_pool(x)).astype(jnp.float32)


for _name, _size in SIZES.items():
  register(_name, DenseNet, defaults={"growth_rate": _size.growth_rate}, layers=_size.layers)

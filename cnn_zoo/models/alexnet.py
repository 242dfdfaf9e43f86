"""AlexNet: in two towers (Krizhevsky, Sutskever and Hinton 2012, ImageNet Classification with Deep Convolutional Neural
Networks) and in one (Krizhevsky 2014, One weird trick for parallelizing convolutional neural networks).
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
from flax import nnx

from cnn_zoo.convolutions import Convolution
from cnn_zoo.convolutions.initializers import constant, normal, uniform_fan_in
from cnn_zoo.layers import local_response_normalization, max_pool
from cnn_zoo.models.fully_connected import FullyConnectedHead
from cnn_zoo.models.registry import Setting, register


class Layer(NamedTuple):
  """A convolution with ReLU, and what follows it."""

  channels: int
  kernel: int
  stride: int = 1
  padding: int = 0
  groups: int = 1  # 2: each tower sees its own half of the channels
  bias: float = 0.0  # initial
  normalized: bool = False  # local response normalisation follows
  pooled: bool = False  # max-pooling follows


# Figure 2 of 2012. The padding, and 227 pixels in place of 224, are what its map sizes (55, 27, 13) take.
TWO_TOWERS = (
  Layer(96, 11, stride=4, normalized=True, pooled=True),
  Layer(256, 5, padding=2, groups=2, bias=1.0, normalized=True, pooled=True),
  Layer(384, 3, padding=1),
  Layer(384, 3, padding=1, groups=2, bias=1.0),
  Layer(256, 3, padding=1, groups=2, bias=1.0, pooled=True),
)
# Of 2014, as torchvision's weights have it.
ONE_TOWER = (
  Layer(64, 11, stride=4, padding=2, pooled=True),
  Layer(192, 5, padding=2, pooled=True),
  Layer(384, 3, padding=1),
  Layer(256, 3, padding=1),
  Layer(256, 3, padding=1, pooled=True),
)
POOL, POOL_STRIDE = 3, 2  # overlapping (section 3.4)
GRID = 6  # cells of the last map along each axis


class AlexNet(nnx.Module):
  """Five convolutions and three fully connected layers.

  Args:
    layers: the convolutions and what follows them; all are learned by `convolution_init` except for the given biases.
    rank: number of spatial axes.
    hidden_features: units of the two hidden fully connected layers.
    dropout_rate: in the two hidden fully connected layers.
    torchvision: PyTorch's initial values, and dropout before the hidden layers in place of behind them.
  """

  def __init__(
    self,
    layers: Sequence[Layer],
    *,
    torchvision: bool,
    num_classes: int,
    in_channels: int,
    rank: int,
    hidden_features: int,
    dropout_rate: float,
    dtype,
    rngs: nnx.Rngs,
  ):
    self.layers, self.dtype = tuple(layers), dtype
    kernel_init = uniform_fan_in if torchvision else normal(0.01)  # section 5 of 2012; 2014 does not say
    features, convolutions = in_channels, []
    for layer in layers:
      convolutions.append(
        Convolution(
          features,
          layer.channels,
          (layer.kernel,) * rank,
          strides=layer.stride,
          padding=layer.padding,
          groups=layer.groups,
          kernel_init=kernel_init,
          bias_init=uniform_fan_in if torchvision else constant(layer.bias),
          rngs=rngs,
        )
      )
      features = layer.channels
    self.convolutions = nnx.List(convolutions)
    self.head = FullyConnectedHead(
      features,
      GRID,
      num_classes,
      rank=rank,
      hidden_features=hidden_features,
      dropout_rate=dropout_rate,
      dropout_first=torchvision,
      kernel_init=kernel_init,
      hidden_bias_init=uniform_fan_in if torchvision else constant(1.0),
      bias_init=uniform_fan_in if torchvision else constant(0.0),
      rngs=rngs,
    )

  def __call__(self, x: jax.Array) -> jax.Array:
    """x [batch, *spatial, in_channels] -> logits [batch, num_classes]."""
    x = x.astype(self.dtype)
    for layer, convolution in zip(self.layers, self.convolutions, strict=True):
      x = jax.nn.relu(convolution(x))
      x = local_response_normalization(x) if layer.normalized else x
      x = max_pool(x, (POOL,) * (x.ndim - 2), POOL_STRIDE) if layer.pooled else x
    return self.head(x)


def _register(name, layers, resolution, torchvision):
  def build(
    *,
    num_classes,
    in_channels,
    rank: int = 2,
    hidden_features: int = 4096,
    dropout_rate: float = 0.5,
    dtype,
    rngs,
  ):
    return AlexNet(
      layers,
      torchvision=torchvision,
      num_classes=num_classes,
      in_channels=in_channels,
      rank=rank,
      hidden_features=hidden_features,
      dropout_rate=dropout_rate,
      dtype=dtype,
      rngs=rngs,
    )

  register(name, build, Setting((resolution, resolution, 3)))


_register("alexnet", ONE_TOWER, 224, torchvision=True)
_register("alexnet_two_towers", TWO_TOWERS, 227, torchvision=False)

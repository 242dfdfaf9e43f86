"""AlexNet, in two towers and in one.

Sources: Krizhevsky, Sutskever and Hinton 2012, ImageNet Classification with Deep Convolutional Neural Networks;
Krizhevsky 2014, One weird trick for parallelizing convolutional neural networks.
"""

from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple

import jax
from flax import nnx

from cnn_zoo.convolutions import Convolution
from cnn_zoo.convolutions.initializers import constant, normal, uniform_fan_in
from cnn_zoo.layers import local_response_normalization, max_pool
from cnn_zoo.models.fully_connected import FullyConnectedHead
from cnn_zoo.models.network import Network
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


# Figure 2 of 2012. The padding, and 227 pixels instead of 224, are what its map sizes (55, 27, 13) take.
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


class AlexNet(Network):
  """Five convolutions and three fully connected layers.

  Features: "conv1" to "conv5", after the normalisation and pooling of each layer; the reductions of `ONE_TOWER` are 8,
  16, 16, 16 and 32.

  Args:
    num_classes, in_channels, dtype, rngs: as `create_model`; num_classes=None leaves the classifier out.
    layers: the convolutions and what follows them.
    torchvision: PyTorch's initial values, and dropout before the hidden layers instead of after them.
    rank: number of spatial axes.
    hidden_features: units of the two hidden fully connected layers.
    dropout_rate: in the two hidden fully connected layers.
  """

  def __init__(
    self,
    *,
    num_classes: int | None,
    in_channels: int,
    layers: Sequence[Layer],
    torchvision: bool,
    rank: int = 2,
    hidden_features: int = 4096,
    dropout_rate: float = 0.5,
    dtype,
    rngs: nnx.Rngs,
  ):
    super().__init__(num_classes, dtype)
    self.layers = tuple(layers)
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
    if num_classes is not None:
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

  def features(self, x: jax.Array) -> OrderedDict[str, jax.Array]:
    """x [batch, *spatial, in_channels] -> the maps after each layer."""
    x, maps = x.astype(self.dtype), OrderedDict()
    for number, (layer, convolution) in enumerate(zip(self.layers, self.convolutions, strict=True), start=1):
      x = jax.nn.relu(convolution(x))
      x = local_response_normalization(x) if layer.normalized else x
      x = max_pool(x, (POOL,) * (x.ndim - 2), POOL_STRIDE) if layer.pooled else x
      maps[f"conv{number}"] = x
    return maps

  def logits(self, x: jax.Array) -> jax.Array:
    """The last map -> logits [batch, num_classes]."""
    return self.head(x)


register("alexnet", AlexNet, layers=ONE_TOWER, torchvision=True)
register("alexnet_two_towers", AlexNet, Setting((227, 227, 3)), layers=TWO_TOWERS, torchvision=False)

"""ResNets with pre-activation (He et al. 2016, Identity Mappings in Deep Residual Networks).

Normalisation and activation come before each convolution, so that the path of the shortcuts through a stage has nothing
but additions. Order of the stem and place of the strides are timm's, whose weights fit; `stride_in="1x1"` puts the
stride of bottlenecks where the paper has it.
"""

import functools
from collections import OrderedDict
from collections.abc import Mapping

import jax
from flax import nnx

from cnn_zoo.convolutions import Convolution
from cnn_zoo.errors import check_name
from cnn_zoo.layers import BatchNorm
from cnn_zoo.models.network import last
from cnn_zoo.models.registry import register
from cnn_zoo.models.resnet import EXPANSION, LAYERS, ResNet


def convolution(in_channels, channels, size, *, stride=1, dilation=1, rank, rngs) -> Convolution:
  """A convolution without bias, `size` wide in every axis, padded so that only its stride changes the sizes."""
  space: dict = {"strides": stride, "padding": dilation * (size // 2), "dilation": dilation}
  return Convolution(in_channels, channels, (size,) * rank, **space, use_bias=False, rngs=rngs)


class PreActivationBasicBlock(nnx.Module):
  """Figure 1 (b): twice normalisation, ReLU and a 3 x 3 convolution, and a shortcut.

  Where the shape changes, the shortcut is a 1 x 1 convolution of the activated input (appendix, first residual unit).
  The arguments are those of `resnet.BasicBlock`.
  """

  def __init__(self, in_channels, channels, stride=1, dilations=(1, 1), *, rank=2, rngs):
    conv = functools.partial(convolution, rank=rank, rngs=rngs)
    self.out_channels = channels
    self.norm1 = BatchNorm(in_channels)
    self.conv1 = conv(in_channels, channels, 3, stride=stride, dilation=dilations[0])
    self.norm2 = BatchNorm(channels)
    self.conv2 = conv(channels, channels, 3, dilation=dilations[1])
    same = in_channels == channels and stride == 1
    self.projection = None if same else conv(in_channels, channels, 1, stride=stride)

  def __call__(self, x):
    """x [batch, *spatial, in_channels] -> [batch, *spatial / stride, out_channels]."""
    y = jax.nn.relu(self.norm1(x))
    x = x if self.projection is None else self.projection(y)
    y = self.conv1(y)
    return x + self.conv2(jax.nn.relu(self.norm2(y)))


class PreActivationBottleneck(nnx.Module):
  """Three times normalisation, ReLU and convolution: 1 x 1, 3 x 3, and 1 x 1 to 4 times as many channels.

  The arguments are those of `resnet.Bottleneck`.
  """

  def __init__(self, in_channels, channels, stride=1, dilations=(1, 1), *, stride_in="3x3", rank=2, rngs):
    check_name("stride_in", stride_in, ("1x1", "3x3"))
    conv = functools.partial(convolution, rank=rank, rngs=rngs)
    first, middle = (stride, 1) if stride_in == "1x1" else (1, stride)
    dilation = dilations[1] if stride_in == "1x1" else dilations[0]
    self.out_channels = channels * EXPANSION
    self.norm1 = BatchNorm(in_channels)
    self.conv1 = conv(in_channels, channels, 1, stride=first)
    self.norm2 = BatchNorm(channels)
    self.conv2 = conv(channels, channels, 3, stride=middle, dilation=dilation)
    self.norm3 = BatchNorm(channels)
    self.conv3 = conv(channels, self.out_channels, 1)
    same = in_channels == self.out_channels and stride == 1
    self.projection = None if same else conv(in_channels, self.out_channels, 1, stride=stride)

  def __call__(self, x):
    """x [batch, *spatial, in_channels] -> [batch, *spatial / stride, out_channels]."""
    y = jax.nn.relu(self.norm1(x))
    x = x if self.projection is None else self.projection(y)
    y = self.conv1(y)
    y = self.conv2(jax.nn.relu(self.norm2(y)))
    return x + self.conv3(jax.nn.relu(self.norm3(y)))


class ResNetV2(ResNet):
  """A convolution and pooling, four stages, normalisation and ReLU, global average pooling and the classifier.

  The features are those of `ResNet`: "conv1" before any activation, and "conv2" to "conv5", the last one normalised and
  activated. The arguments are those of `ResNet`, with `PreActivationBasicBlock` or `PreActivationBottleneck`.
  """

  stem_options: Mapping = {"norm": None, "activation": None, "use_bias": False}

  def __init__(self, **options):
    super().__init__(**options)
    self.final_norm = BatchNorm(self.channels[-1])

  def features(self, x: jax.Array) -> OrderedDict[str, jax.Array]:
    """x [batch, *spatial, in_channels] -> the maps of the stem and of the stages."""
    maps = super().features(x)
    maps[next(reversed(maps))] = jax.nn.relu(self.final_norm(last(maps)))
    return maps


for _depth in (18, 34):
  register(
    f"resnetv2_{_depth}", ResNetV2, block=PreActivationBasicBlock, layers=LAYERS[_depth], zero_init_residual=False
  )
for _depth in (50, 101, 152):
  register(
    f"resnetv2_{_depth}", ResNetV2, block=PreActivationBottleneck, layers=LAYERS[_depth], zero_init_residual=False
  )

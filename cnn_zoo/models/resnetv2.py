"""ResNets with pre-activation (He et al. 2016, Identity Mappings in Deep Residual Networks).

Normalisation and activation stand before each convolution, so that nothing but additions lies on the way of the
shortcuts through a stage. Order of the stem and place of the strides are timm's, whose weights fit; `stride_in="1x1"`
puts the stride of bottlenecks where the paper has it.
"""

import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from cnn_zoo.convolutions.initializers import uniform_fan_in
from cnn_zoo.errors import check_name
from cnn_zoo.layers import BatchNorm, Linear, global_average_pool, max_pool, run_blocks
from cnn_zoo.models.registry import register
from cnn_zoo.models.resnet import EXPANSION, LAYERS, STEM, build_stages, convolution


class PreActivationBasicBlock(nnx.Module):
  """Figure 1 (b): twice normalisation, ReLU and a 3 x 3 convolution, beside a shortcut.

  Where the shape changes, the shortcut is a 1 x 1 convolution of the activated input (appendix, first residual unit).

  Args:
    dilations: of the convolutions up to the one with the stride, and of those behind it.
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
  """Normalisation, ReLU and convolution thrice: 1 x 1, 3 x 3, and 1 x 1 to 4 times as many channels.

  Args:
    stride_in: which convolution has the stride: "3x3" as timm, or the first one, "1x1", as the paper.
    The others are those of `PreActivationBasicBlock`.
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


class ResNetV2(nnx.Module):
  """A convolution and pooling, four stages, normalisation and ReLU, global average pooling and the classifier.

  Args:
    block: `PreActivationBasicBlock` or `PreActivationBottleneck`.
    The others are those of `resnet.ResNetTrunk`.

  Attributes:
    channels: of the maps that `features` returns.
  """

  def __init__(
    self,
    *,
    num_classes: int,
    in_channels: int,
    block: Callable[..., nnx.Module],
    layers: Sequence[int],
    rank: int = 2,
    output_stride: int = 32,
    remat: bool = False,
    dtype,
    rngs: nnx.Rngs,
  ):
    self.dtype, self.rank, self.remat = dtype, rank, remat
    self.stem = convolution(in_channels, STEM, 7, stride=2, rank=rank, rngs=rngs)
    self.stages = build_stages(block, layers, output_stride=output_stride, rank=rank, rngs=rngs)
    self.channels = (STEM, *(stage[-1].out_channels for stage in self.stages))
    self.final_norm = BatchNorm(self.channels[-1])
    self.classifier = Linear(
      self.channels[-1], num_classes, kernel_init=uniform_fan_in, bias_init=uniform_fan_in, rngs=rngs
    )

  def features(self, x: jax.Array) -> tuple[jax.Array, ...]:
    """x [batch, *spatial, in_channels] -> the maps of the stem (half the size) and the stages; the last activated."""
    maps = [self.stem(x.astype(self.dtype))]
    x = max_pool(maps[0], (3,) * self.rank, 2, 1)
    for stage in self.stages:
      x = run_blocks(stage, x, remat=self.remat)
      maps.append(x)
    return (*maps[:-1], jax.nn.relu(self.final_norm(x)))

  def __call__(self, x: jax.Array) -> jax.Array:
    """x [batch, *spatial, in_channels] -> logits [batch, num_classes]."""
    return self.classifier(global_average_pool(self.features(x)[-1])).astype(jnp.float32)


def _basic(
  depth, *, num_classes, in_channels, rank: int = 2, output_stride: int = 32, remat: bool = False, dtype, rngs
):
  return ResNetV2(
    num_classes=num_classes,
    in_channels=in_channels,
    block=PreActivationBasicBlock,
    layers=LAYERS[depth],
    rank=rank,
    output_stride=output_stride,
    remat=remat,
    dtype=dtype,
    rngs=rngs,
  )


def _bottleneck(
  depth,
  *,
  num_classes,
  in_channels,
  stride_in: str = "3x3",
  rank: int = 2,
  output_stride: int = 32,
  remat: bool = False,
  dtype,
  rngs,
):
  return ResNetV2(
    num_classes=num_classes,
    in_channels=in_channels,
    block=functools.partial(PreActivationBottleneck, stride_in=stride_in),
    layers=LAYERS[depth],
    rank=rank,
    output_stride=output_stride,
    remat=remat,
    dtype=dtype,
    rngs=rngs,
  )


for _depth in (18, 34):
  register(f"resnetv2_{_depth}", functools.partial(_basic, _depth))
for _depth in (50, 101, 152):
  register(f"resnetv2_{_depth}", functools.partial(_bottleneck, _depth))

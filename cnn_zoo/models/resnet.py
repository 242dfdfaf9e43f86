"""ResNet (He et al. 2015, Deep Residual Learning for Image Recognition) and the plain networks it is compared with.

Where the paper leaves a choice it is torchvision's, whose weights fit: projections where the shape changes (option B)
and, in bottlenecks, the stride in the 3 x 3 convolution; `stride_in="1x1"` puts it where the paper has it.
"""

import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from cnn_zoo.convolutions import Convolution
from cnn_zoo.convolutions.initializers import uniform_fan_in
from cnn_zoo.errors import UserError, check_name
from cnn_zoo.layers import BatchNorm, Linear, global_average_pool, max_pool, run_blocks
from cnn_zoo.models.registry import register

# Table 1: the number of blocks in conv2_x to conv5_x, by depth.
LAYERS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
STEM = 64  # channels of conv1
CHANNELS = (64, 128, 256, 512)  # of the 3 x 3 convolutions in conv2_x to conv5_x
STRIDES = (1, 2, 2, 2)  # of the first block of conv2_x to conv5_x; conv1 and the pooling before them have 2 each
EXPANSION = 4  # a bottleneck's output has that many times the channels of its 3 x 3 convolution


def convolution(in_channels, channels, size, *, stride=1, dilation=1, rank, rngs) -> Convolution:
  """A convolution without bias, `size` wide in every axis, padded so that only its stride changes the sizes."""
  space = {"strides": stride, "padding": dilation * (size // 2), "dilation": dilation}
  return Convolution(in_channels, channels, (size,) * rank, **space, use_bias=False, rngs=rngs)


class Projection(nnx.Module):
  """The shortcut where the shape changes: a 1 x 1 convolution with the block's stride (equation 2), normalised."""

  def __init__(self, in_channels, channels, stride, *, rank, rngs):
    self.conv = convolution(in_channels, channels, 1, stride=stride, rank=rank, rngs=rngs)
    self.norm = BatchNorm(channels)

  def __call__(self, x):
    """x [batch, *spatial, in_channels] -> [batch, *spatial / stride, channels]."""
    return self.norm(self.conv(x))


class BasicBlock(nnx.Module):
  """Figure 5, left: two 3 x 3 convolutions beside a shortcut.

  Args:
    dilations: of the convolutions up to the one with the stride, and of those behind it.
  """

  def __init__(self, in_channels, channels, stride=1, dilations=(1, 1), *, rank=2, rngs):
    conv = functools.partial(convolution, rank=rank, rngs=rngs)
    self.out_channels = channels
    self.conv1 = conv(in_channels, channels, 3, stride=stride, dilation=dilations[0])
    self.norm1 = BatchNorm(channels)
    self.conv2 = conv(channels, channels, 3, dilation=dilations[1])
    self.norm2 = BatchNorm(channels)
    same = in_channels == channels and stride == 1
    self.projection = None if same else Projection(in_channels, channels, stride, rank=rank, rngs=rngs)

  def __call__(self, x):
    """x [batch, *spatial, in_channels] -> [batch, *spatial / stride, out_channels]."""
    y = jax.nn.relu(self.norm1(self.conv1(x)))
    y = self.norm2(self.conv2(y))
    return jax.nn.relu(y + (x if self.projection is None else self.projection(x)))


class PlainBlock(nnx.Module):
  """Figure 3, middle: the convolutions of a `BasicBlock` without the shortcut."""

  def __init__(self, in_channels, channels, stride=1, dilations=(1, 1), *, rank=2, rngs):
    conv = functools.partial(convolution, rank=rank, rngs=rngs)
    self.out_channels = channels
    self.conv1 = conv(in_channels, channels, 3, stride=stride, dilation=dilations[0])
    self.norm1 = BatchNorm(channels)
    self.conv2 = conv(channels, channels, 3, dilation=dilations[1])
    self.norm2 = BatchNorm(channels)

  def __call__(self, x):
    """x [batch, *spatial, in_channels] -> [batch, *spatial / stride, out_channels]."""
    y = jax.nn.relu(self.norm1(self.conv1(x)))
    return jax.nn.relu(self.norm2(self.conv2(y)))


class Bottleneck(nnx.Module):
  """Figure 5, right: 1 x 1 to fewer channels, 3 x 3, 1 x 1 to 4 times as many, beside a shortcut.

  Args:
    stride_in: which convolution has the stride: "3x3" as torchvision, or the first one, "1x1", as the paper.
    The others are those of `BasicBlock`.
  """

  def __init__(self, in_channels, channels, stride=1, dilations=(1, 1), *, stride_in="3x3", rank=2, rngs):
    check_name("stride_in", stride_in, ("1x1", "3x3"))
    conv = functools.partial(convolution, rank=rank, rngs=rngs)
    first, middle = (stride, 1) if stride_in == "1x1" else (1, stride)
    dilation = dilations[1] if stride_in == "1x1" else dilations[0]
    self.out_channels = channels * EXPANSION
    self.conv1 = conv(in_channels, channels, 1, stride=first)
    self.norm1 = BatchNorm(channels)
    self.conv2 = conv(channels, channels, 3, stride=middle, dilation=dilation)
    self.norm2 = BatchNorm(channels)
    self.conv3 = conv(channels, self.out_channels, 1)
    self.norm3 = BatchNorm(self.out_channels)
    same = in_channels == self.out_channels and stride == 1
    self.projection = None if same else Projection(in_channels, self.out_channels, stride, rank=rank, rngs=rngs)

  def __call__(self, x):
    """x [batch, *spatial, in_channels] -> [batch, *spatial / stride, out_channels]."""
    y = jax.nn.relu(self.norm1(self.conv1(x)))
    y = jax.nn.relu(self.norm2(self.conv2(y)))
    y = self.norm3(self.conv3(y))
    return jax.nn.relu(y + (x if self.projection is None else self.projection(x)))


BLOCKS = {18: BasicBlock, 34: BasicBlock, 50: Bottleneck, 101: Bottleneck, 152: Bottleneck}  # Table 1, by depth


def stage_sampling(output_stride: int) -> list[tuple[int, tuple[int, int]]]:
  """The stride and the two dilations (before and behind it) of conv2_x to conv5_x.

  A stage whose stride would make the maps more than `output_stride` times smaller than the input keeps their size and
  dilates what follows in its place, so that every convolution sees what it saw with the stride (Chen et al. 2017,
  Rethinking Atrous Convolution for Semantic Image Segmentation, section 3.1).
  """
  if output_stride not in (8, 16, 32):
    raise UserError(f"output_stride={output_stride} must be 8, 16 or 32")
  reached, dilation, sampling = 4, 1, []
  for stride in STRIDES:
    before = dilation
    if reached * stride > output_stride:
      stride, dilation = 1, dilation * stride
    reached *= stride
    sampling.append((stride, (before, dilation)))
  return sampling


def build_stages(block: Callable[..., nnx.Module], layers: Sequence[int], *, output_stride, rank, rngs) -> nnx.List:
  """conv2_x to conv5_x: lists of `block(in_channels, channels, stride, dilations, rank=, rngs=)`."""
  stages, features = [], STEM
  for count, channels, (stride, dilations) in zip(layers, CHANNELS, stage_sampling(output_stride), strict=True):
    blocks = []
    for index in range(count):
      first = (stride, dilations) if index == 0 else (1, (dilations[1], dilations[1]))
      blocks.append(block(features, channels, *first, rank=rank, rngs=rngs))
      features = blocks[-1].out_channels
    stages.append(nnx.List(blocks))
  return nnx.List(stages)


class ResNetTrunk(nnx.Module):
  """conv1 to conv5_x of Table 1, without the classifier.

  Args:
    block: `BasicBlock`, `PlainBlock` or `Bottleneck`.
    layers: the number of blocks in conv2_x to conv5_x.
    rank: the number of spatial axes.
    output_stride: how many times smaller the last map is than the input: 32, or 16 or 8 for dense prediction.
    remat: computes the insides of the blocks anew in the backward pass in place of keeping them.

  Attributes:
    channels: of the maps that `features` returns.
  """

  def __init__(
    self,
    *,
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
    self.stem_norm = BatchNorm(STEM)
    self.stages = build_stages(block, layers, output_stride=output_stride, rank=rank, rngs=rngs)
    self.channels = (STEM, *(stage[-1].out_channels for stage in self.stages))

  def features(self, x: jax.Array) -> tuple[jax.Array, ...]:
    """x [batch, *spatial, in_channels] -> the maps of conv1 (half the size) and of conv2_x to conv5_x."""
    maps = [jax.nn.relu(self.stem_norm(self.stem(x.astype(self.dtype))))]
    x = max_pool(maps[0], (3,) * self.rank, 2, 1)
    for stage in self.stages:
      x = run_blocks(stage, x, remat=self.remat)
      maps.append(x)
    return tuple(maps)


class ResNet(ResNetTrunk):
  """The trunk, global average pooling and the classifier.

  Args:
    zero_init_residual: starts each residual branch at zero, by the scale of its last normalisation (Goyal et al. 2017,
      section 5.1).
    The others are those of `ResNetTrunk`.
  """

  def __init__(self, *, num_classes: int, zero_init_residual: bool = False, rngs: nnx.Rngs, **trunk):
    super().__init__(rngs=rngs, **trunk)
    self.classifier = Linear(
      self.channels[-1], num_classes, kernel_init=uniform_fan_in, bias_init=uniform_fan_in, rngs=rngs
    )
    if zero_init_residual:
      for stage in self.stages:
        for block in stage:
          norm = block.norm3 if isinstance(block, Bottleneck) else block.norm2
          norm.scale.set_value(jax.device_put(np.zeros(norm.features, np.float32)))

  def __call__(self, x: jax.Array) -> jax.Array:
    """x [batch, *spatial, in_channels] -> logits [batch, num_classes]."""
    return self.classifier(global_average_pool(self.features(x)[-1])).astype(jnp.float32)


def _basic(
  depth,
  *,
  num_classes,
  in_channels,
  rank: int = 2,
  output_stride: int = 32,
  zero_init_residual: bool = False,
  remat: bool = False,
  dtype,
  rngs,
):
  return ResNet(
    num_classes=num_classes,
    in_channels=in_channels,
    block=BasicBlock,
    layers=LAYERS[depth],
    rank=rank,
    output_stride=output_stride,
    zero_init_residual=zero_init_residual,
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
  zero_init_residual: bool = False,
  remat: bool = False,
  dtype,
  rngs,
):
  return ResNet(
    num_classes=num_classes,
    in_channels=in_channels,
    block=functools.partial(Bottleneck, stride_in=stride_in),
    layers=LAYERS[depth],
    rank=rank,
    output_stride=output_stride,
    zero_init_residual=zero_init_residual,
    remat=remat,
    dtype=dtype,
    rngs=rngs,
  )


def _plain(
  depth, *, num_classes, in_channels, rank: int = 2, output_stride: int = 32, remat: bool = False, dtype, rngs
):
  return ResNet(
    num_classes=num_classes,
    in_channels=in_channels,
    block=PlainBlock,
    layers=LAYERS[depth],
    rank=rank,
    output_stride=output_stride,
    remat=remat,
    dtype=dtype,
    rngs=rngs,
  )


for _depth in (18, 34):
  register(f"resnet{_depth}", functools.partial(_basic, _depth))
  register(f"plain{_depth}", functools.partial(_plain, _depth))
for _depth in (50, 101, 152):
  register(f"resnet{_depth}", functools.partial(_bottleneck, _depth))

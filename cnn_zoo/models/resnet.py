"""ResNet (He et al. 2015, Deep Residual Learning for Image Recognition) and the plain networks it is compared with.

Where the paper leaves a choice it is torchvision's, whose weights fit: projections where the shape changes (option B)
and, in bottlenecks, the stride in the 3 x 3 convolution; `stride_in="1x1"` puts it where the paper has it.
"""

import functools
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from cnn_zoo.convolutions.initializers import uniform_fan_in
from cnn_zoo.errors import UserError, check_name
from cnn_zoo.layers import ConvNorm, Linear, global_average_pool, max_pool, run_blocks
from cnn_zoo.models.network import Network
from cnn_zoo.models.registry import register

# Table 1: the number of blocks in conv2_x to conv5_x, by depth.
LAYERS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
STEM = 64  # channels of conv1
CHANNELS = (64, 128, 256, 512)  # of the 3 x 3 convolutions in conv2_x to conv5_x
STRIDES = (1, 2, 2, 2)  # of the first block of conv2_x to conv5_x; conv1 and the pooling before them have 2 each
EXPANSION = 4  # a bottleneck's output has that many times the channels of its 3 x 3 convolution


class BasicBlock(nnx.Module):
  """Figure 5, left: two 3 x 3 convolutions and a shortcut.

  Where the shape changes, the shortcut is a 1 x 1 convolution with the block's stride (equation 2), normalised.

  Args:
    in_channels: channels of the input.
    channels: channels of the output.
    stride: of the first convolution.
    dilations: of the convolutions up to the one with the stride, and of those after it.
    rank: number of spatial axes.
    rngs: the source of initial values.
  """

  shortcut = True

  def __init__(self, in_channels, channels, stride=1, dilations=(1, 1), *, rank=2, rngs):
    unit, three = functools.partial(ConvNorm, rngs=rngs), (3,) * rank
    self.out_channels = channels
    self.conv1 = unit(in_channels, channels, three, strides=stride, dilation=dilations[0])
    self.conv2 = unit(channels, channels, three, dilation=dilations[1], activation=None)
    changes = self.shortcut and (in_channels != channels or stride > 1)
    one: dict = {"kernel_size": (1,) * rank, "strides": stride, "activation": None}
    self.projection = unit(in_channels, channels, **one) if changes else None

  def __call__(self, x):
    """x [batch, *spatial, in_channels] -> [batch, *spatial / stride, out_channels]."""
    y = self.conv2(self.conv1(x))
    if self.shortcut:
      y += x if self.projection is None else self.projection(x)
    return jax.nn.relu(y)


class PlainBlock(BasicBlock):
  """Figure 3, middle: the convolutions of a `BasicBlock` without the shortcut."""

  shortcut = False


class Bottleneck(nnx.Module):
  """Figure 5, right: 1 x 1 to fewer channels, 3 x 3, 1 x 1 to 4 times as many, and a shortcut.

  Args:
    in_channels: channels of the input.
    channels: channels of the 3 x 3 convolution.
    stride: of the convolution that `stride_in` names.
    dilations: of the 3 x 3 convolution if it has the stride, and if it comes after the stride.
    stride_in: which convolution has the stride: "3x3" as torchvision, or the first one, "1x1", as the paper.
    rank: number of spatial axes.
    rngs: the source of initial values.
  """

  def __init__(self, in_channels, channels, stride=1, dilations=(1, 1), *, stride_in="3x3", rank=2, rngs):
    check_name("stride_in", stride_in, ("1x1", "3x3"))
    unit, one, three = functools.partial(ConvNorm, rngs=rngs), (1,) * rank, (3,) * rank
    first, middle = (stride, 1) if stride_in == "1x1" else (1, stride)
    dilation = dilations[1] if stride_in == "1x1" else dilations[0]
    self.out_channels = channels * EXPANSION
    self.conv1 = unit(in_channels, channels, one, strides=first)
    self.conv2 = unit(channels, channels, three, strides=middle, dilation=dilation)
    self.conv3 = unit(channels, self.out_channels, one, activation=None)
    same = in_channels == self.out_channels and stride == 1
    self.projection = None if same else unit(in_channels, self.out_channels, one, strides=stride, activation=None)

  def __call__(self, x):
    """x [batch, *spatial, in_channels] -> [batch, *spatial / stride, out_channels]."""
    y = self.conv3(self.conv2(self.conv1(x)))
    return jax.nn.relu(y + (x if self.projection is None else self.projection(x)))


def stage_sampling(output_stride: int) -> list[tuple[int, tuple[int, int]]]:
  """The stride and the two dilations (up to it and after it) of conv2_x to conv5_x.

  A stage whose stride would make the maps more than `output_stride` times smaller than the input keeps their size and
  dilates the convolutions that follow instead, so that every convolution sees what it saw with the stride (Chen et al.
  2017, Rethinking Atrous Convolution for Semantic Image Segmentation, section 3.1).

  Raises:
    UserError: unless `output_stride` is 8, 16 or 32.
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


def build_stages(block: Callable[..., nnx.Module], layers: Sequence[int], *, output_stride, **options) -> nnx.List:
  """conv2_x to conv5_x: lists of `block(in_channels, channels, stride, dilations, **options)`."""
  stages, features = [], STEM
  for count, channels, (stride, dilations) in zip(layers, CHANNELS, stage_sampling(output_stride), strict=True):
    blocks: list[Any] = []
    for index in range(count):
      first = (stride, dilations) if index == 0 else (1, (dilations[1], dilations[1]))
      blocks.append(block(features, channels, *first, **options))
      features = blocks[-1].out_channels
    stages.append(nnx.List(blocks))
  return nnx.List(stages)


class ResNet(Network):
  """Table 1: conv1 to conv5_x, global average pooling and the classifier.

  Features: "conv1" at half the size of the input, and "conv2" to "conv5" at a quarter to a 32nd of it.

  Args:
    num_classes, in_channels, dtype, rngs: as `create_model`; num_classes=None leaves the classifier out.
    block: `BasicBlock`, `PlainBlock` or `Bottleneck`.
    layers: the number of blocks in conv2_x to conv5_x.
    rank: number of spatial axes.
    output_stride: how many times smaller the last map is than the input: 32, or 16 or 8 for dense prediction.
    zero_init_residual: starts each residual branch at zero, by the scale of its last normalisation (Goyal et al. 2017,
      section 5.1).
    remat: recomputes the blocks' inner activations in the backward pass instead of keeping them.
    **block_options: of `block`.

  Attributes:
    channels: of the maps that `features` returns.
  """

  stem_options: Mapping = {}  # of conv1; `ResNetV2` has others

  def __init__(
    self,
    *,
    num_classes: int | None,
    in_channels: int,
    block: Callable[..., nnx.Module],
    layers: Sequence[int],
    rank: int = 2,
    output_stride: int = 32,
    zero_init_residual: bool = False,
    remat: bool = False,
    dtype,
    rngs: nnx.Rngs,
    **block_options,
  ):
    super().__init__(num_classes, dtype)
    self.remat = remat
    self.stem = ConvNorm(in_channels, STEM, (7,) * rank, strides=2, **self.stem_options, rngs=rngs)
    self.stages = build_stages(block, layers, output_stride=output_stride, rank=rank, rngs=rngs, **block_options)
    self.channels = (STEM, *(stage[-1].out_channels for stage in self.stages))
    if num_classes is not None:
      init: dict = {"kernel_init": uniform_fan_in, "bias_init": uniform_fan_in}
      self.classifier = Linear(self.channels[-1], num_classes, **init, rngs=rngs)
    if zero_init_residual:
      for stage in self.stages:
        for residual in stage:
          norm = (residual.conv3 if isinstance(residual, Bottleneck) else residual.conv2).norm
          norm.scale.set_value(jax.device_put(np.zeros(norm.features, np.float32)))

  def features(self, x: jax.Array) -> OrderedDict[str, jax.Array]:
    """x [batch, *spatial, in_channels] -> the maps of conv1 and of conv2_x to conv5_x."""
    maps = OrderedDict(conv1=self.stem(x.astype(self.dtype)))
    x = max_pool(maps["conv1"], (3,) * (x.ndim - 2), 2, 1)
    for number, stage in enumerate(self.stages, start=2):
      maps[f"conv{number}"] = x = run_blocks(stage, x, remat=self.remat)
    return maps

  def logits(self, x: jax.Array) -> jax.Array:
    """The map of conv5_x -> logits [batch, num_classes]."""
    return self.classifier(global_average_pool(x)).astype(jnp.float32)


for _depth in (18, 34):
  register(f"resnet{_depth}", ResNet, block=BasicBlock, layers=LAYERS[_depth])
  register(f"plain{_depth}", ResNet, block=PlainBlock, layers=LAYERS[_depth], zero_init_residual=False)
for _depth in (50, 101, 152):
  register(f"resnet{_depth}", ResNet, block=Bottleneck, layers=LAYERS[_depth])

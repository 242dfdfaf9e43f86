"""Xception (Chollet 2017, Xception: Deep Learning with Depthwise Separable Convolutions)."""

import functools
from collections import OrderedDict

import jax
import jax.numpy as jnp
from flax import nnx

from cnn_zoo.convolutions import DepthwiseSeparableConvolution
from cnn_zoo.convolutions.initializers import uniform_fan_in
from cnn_zoo.errors import UserError
from cnn_zoo.layers import ConvNorm, Dropout, Linear, global_average_pool, max_pool, run_blocks
from cnn_zoo.models.network import Network
from cnn_zoo.models.registry import Setting, register

# Figure 5: the channels after each convolution.
STEM = (32, 64)  # 3 x 3, the first with a stride of 2
ENTRY = ((128, 128), (256, 256), (728, 728))  # blocks that end with a stride of 2
MIDDLE, MIDDLE_BLOCKS = (728, 728, 728), 8
EXIT = (728, 1024)  # a block that ends with a stride of 2
TOP = (1536, 2048)  # separable


class Block(nnx.Module):
  """Separable convolutions, each after a ReLU, and a residual around them.

  Figure 5 has no ReLU at the beginning of the first block, whose input comes from one: a second changes nothing.

  Args:
    in_channels: channels of the input.
    channels: after each convolution.
    stride: 1, or 2 for a 3 x 3 maximum at the end and a 1 x 1 convolution as the shortcut.
    rank: number of spatial axes.
    rngs: the source of initial values.
  """

  def __init__(self, in_channels: int, channels: tuple[int, ...], *, stride: int, rank: int, rngs: nnx.Rngs):
    self.stride = stride
    widths = zip((in_channels, *channels[:-1]), channels, strict=True)
    # Depthwise separable, without anything between the steps (section 4.7).
    unit = functools.partial(ConvNorm, activation=None, rngs=rngs)
    separable = functools.partial(unit, kernel_size=(3,) * rank, conv=DepthwiseSeparableConvolution)
    self.separables = nnx.List(separable(a, b) for a, b in widths)
    self.shortcut = unit(in_channels, channels[-1], (1,) * rank, strides=stride) if stride > 1 else None

  def __call__(self, x: jax.Array) -> jax.Array:
    """x [batch, *spatial, in_channels] -> [batch, *spatial / stride, channels[-1]]."""
    y = x
    for separable in self.separables:
      y = separable(jax.nn.relu(y))
    if self.shortcut is None:
      return x + y
    rank = x.ndim - 2
    return max_pool(y, (3,) * rank, self.stride, 1) + self.shortcut(x)


class Xception(Network):
  """Figure 5: the entry flow, the middle flow and the exit flow.

  Features: "stem" at half the size of the input, "block1" to "block12", whose reductions are 4, 8, 16, eight times 16
  and 32, and "exit" at a 32nd.

  Args:
    num_classes, in_channels, dtype, rngs: as `create_model`; num_classes=None leaves the classifier out.
    rank: number of spatial axes.
    middle_blocks: how often the middle flow is repeated.
    dropout_rate: before the classifier (section 4.2.2).
    remat: recomputes the blocks' inner activations in the backward pass instead of keeping them.
  """

  def __init__(
    self,
    *,
    num_classes: int | None,
    in_channels: int,
    rank: int = 2,
    middle_blocks: int = MIDDLE_BLOCKS,
    dropout_rate: float = 0.5,
    remat: bool = False,
    dtype,
    rngs: nnx.Rngs,
  ):
    if middle_blocks < 0:
      raise UserError(f"middle_blocks={middle_blocks} must not be below 0")
    super().__init__(num_classes, dtype)
    self.remat = remat
    unit = functools.partial(ConvNorm, kernel_size=(3,) * rank, rngs=rngs)
    self.conv1 = unit(in_channels, STEM[0], strides=2, padding="VALID")
    self.conv2 = unit(STEM[0], STEM[1], padding="VALID")
    self.blocks, features = nnx.List(), STEM[1]
    for channels in (*ENTRY, *[MIDDLE] * middle_blocks, EXIT):
      stride = 1 if channels is MIDDLE else 2
      self.blocks.append(Block(features, channels, stride=stride, rank=rank, rngs=rngs))
      features = channels[-1]
    self.separable1 = unit(features, TOP[0], conv=DepthwiseSeparableConvolution)
    self.separable2 = unit(TOP[0], TOP[1], conv=DepthwiseSeparableConvolution)
    if num_classes is not None:
      self.dropout = Dropout(dropout_rate, rngs=rngs)
      self.classifier = Linear(TOP[1], num_classes, kernel_init=uniform_fan_in, rngs=rngs)

  def features(self, x: jax.Array) -> OrderedDict[str, jax.Array]:
    """x [batch, *spatial, in_channels] -> the maps of the stages."""
    maps = OrderedDict(stem=self.conv2(self.conv1(x.astype(self.dtype))))
    x = maps["stem"]
    for number, block in enumerate(self.blocks, start=1):
      maps[f"block{number}"] = x = run_blocks([block], x, remat=self.remat)
    maps["exit"] = self.separable2(self.separable1(x))
    return maps

  def logits(self, x: jax.Array) -> jax.Array:
    """The last map -> logits [batch, num_classes]."""
    return self.classifier(self.dropout(global_average_pool(x))).astype(jnp.float32)


register("xception", Xception, Setting((299, 299, 3)))

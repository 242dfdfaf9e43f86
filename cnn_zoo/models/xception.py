"""Xception (Chollet 2017, Xception: Deep Learning with Depthwise Separable Convolutions)."""

import functools

import jax
import jax.numpy as jnp
from flax import nnx

from cnn_zoo.convolutions import Convolution, DepthwiseSeparableConvolution
from cnn_zoo.convolutions.initializers import uniform_fan_in
from cnn_zoo.errors import UserError
from cnn_zoo.layers import BatchNorm, Dropout, Linear, global_average_pool, max_pool, run_blocks
from cnn_zoo.models.registry import Setting, register

# Figure 5: the channels after each convolution.
STEM = (32, 64)  # 3 x 3, the first with a stride of 2
ENTRY = ((128, 128), (256, 256), (728, 728))  # blocks that end with a stride of 2
MIDDLE, MIDDLE_BLOCKS = (728, 728, 728), 8
EXIT = (728, 1024)  # a block that ends with a stride of 2
TOP = (1536, 2048)  # separable


class Separable(nnx.Module):
  """A 3 x 3 depthwise separable convolution without anything between its steps (section 4.7), then normalisation."""

  def __init__(self, in_channels: int, channels: int, *, rank: int, rngs: nnx.Rngs):
    self.convolution = DepthwiseSeparableConvolution(
      in_channels, channels, (3,) * rank, padding=1, use_bias=False, rngs=rngs
    )
    self.norm = BatchNorm(channels)

  def __call__(self, x: jax.Array) -> jax.Array:
    """x [batch, *spatial, in_channels] -> [batch, *spatial, channels]."""
    return self.norm(self.convolution(x))


class Block(nnx.Module):
  """Separable convolutions, each behind a ReLU, and a residual around them.

  Figure 5 has no ReLU at the beginning of the first block, whose input comes from one: a second changes nothing.

  Args:
    channels: after each convolution.
    stride: 1, or 2 for a 3 x 3 maximum at the end and a 1 x 1 convolution as the shortcut.
  """

  def __init__(self, in_channels: int, channels: tuple[int, ...], *, stride: int, rank: int, rngs: nnx.Rngs):
    self.stride = stride
    widths = zip((in_channels, *channels[:-1]), channels, strict=True)
    self.separables = nnx.List(Separable(a, b, rank=rank, rngs=rngs) for a, b in widths)
    if stride > 1:
      out = channels[-1]
      self.shortcut = Convolution(in_channels, out, (1,) * rank, strides=stride, padding=0, use_bias=False, rngs=rngs)
      self.shortcut_norm = BatchNorm(out)
    else:
      self.shortcut = None

  def __call__(self, x: jax.Array) -> jax.Array:
    """x [batch, *spatial, in_channels] -> [batch, *spatial / stride, channels[-1]]."""
    y = x
    for separable in self.separables:
      y = separable(jax.nn.relu(y))
    if self.shortcut is None:
      return x + y
    rank = x.ndim - 2
    return max_pool(y, (3,) * rank, self.stride, 1) + self.shortcut_norm(self.shortcut(x))


class Xception(nnx.Module):
  """Figure 5: the entry flow, the middle flow and the exit flow.

  Args:
    rank: number of spatial axes.
    middle_blocks: how often the middle flow is repeated.
    dropout_rate: before the classifier (section 4.2.2).
    remat: computes the blocks' activations again in the backward pass in place of keeping them.
  """

  def __init__(
    self,
    *,
    num_classes: int,
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
    self.remat, self.dtype = remat, dtype
    conv = functools.partial(Convolution, kernel_size=(3,) * rank, padding="VALID", use_bias=False, rngs=rngs)
    self.conv1, self.norm1 = conv(in_channels, STEM[0], strides=2), BatchNorm(STEM[0])
    self.conv2, self.norm2 = conv(STEM[0], STEM[1]), BatchNorm(STEM[1])
    self.blocks, features = nnx.List(), STEM[1]
    for channels in (*ENTRY, *[MIDDLE] * middle_blocks, EXIT):
      stride = 1 if channels is MIDDLE else 2
      self.blocks.append(Block(features, channels, stride=stride, rank=rank, rngs=rngs))
      features = channels[-1]
    self.separable1 = Separable(features, TOP[0], rank=rank, rngs=rngs)
    self.separable2 = Separable(TOP[0], TOP[1], rank=rank, rngs=rngs)
    self.dropout = Dropout(dropout_rate, rngs=rngs)
    self.classifier = Linear(TOP[1], num_classes, kernel_init=uniform_fan_in, rngs=rngs)

  def __call__(self, x: jax.Array) -> jax.Array:
    """x [batch, *spatial, in_channels] -> logits [batch, num_classes]."""
    x = jax.nn.relu(self.norm1(self.conv1(x.astype(self.dtype))))
    x = jax.nn.relu(self.norm2(self.conv2(x)))
    x = run_blocks(self.blocks, x, remat=self.remat)
    x = jax.nn.relu(self.separable1(x))
    x = jax.nn.relu(self.separable2(x))
    return self.classifier(self.dropout(global_average_pool(x))).astype(jnp.float32)


register("xception", Xception, Setting((299, 299, 3)))

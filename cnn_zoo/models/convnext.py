"""ConvNeXt (Liu et al. 2022, A ConvNet for the 2020s)."""

import functools
import itertools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from cnn_zoo.convolutions import Convolution
from cnn_zoo.convolutions.initializers import truncated_normal
from cnn_zoo.errors import UserError
from cnn_zoo.layers import LayerNorm, LayerScale, Linear, StochasticDepth, global_average_pool, run_blocks
from cnn_zoo.models.registry import Setting, register


class Size(NamedTuple):
  """Section 3: C and B of the four stages, and the stochastic depth of training on ImageNet-1K (Table 5)."""

  channels: tuple[int, ...]
  blocks: tuple[int, ...]
  stochastic_depth: float


SIZES = {
  "convnext_tiny": Size((96, 192, 384, 768), (3, 3, 9, 3), 0.1),
  "convnext_small": Size((96, 192, 384, 768), (3, 3, 27, 3), 0.4),
  "convnext_base": Size((128, 256, 512, 1024), (3, 3, 27, 3), 0.5),
  "convnext_large": Size((192, 384, 768, 1536), (3, 3, 27, 3), 0.5),
  "convnext_xlarge": Size((256, 512, 1024, 2048), (3, 3, 27, 3), 0.5),
}
STEM, KERNEL, EXPANSION = 4, 7, 4  # the patches of the stem, the depthwise kernel, the widening of a block
weights = truncated_normal(0.02)  # the initial kernels of every layer (Table 5)


class Block(nnx.Module):
  """Figure 4: depthwise 7 x 7, layer normalisation, 1 x 1 to four times the channels, GELU, 1 x 1 back, residual.

  The 1 x 1 convolutions are fully connected layers over the channels.

  Args:
    layer_scale: where the scale of the branch starts.
    stochastic_depth_rate: how often training drops the branch.
    rank: number of spatial axes.
  """

  def __init__(self, channels: int, *, layer_scale: float, stochastic_depth_rate: float, rank: int = 2, rngs: nnx.Rngs):
    space = {"padding": KERNEL // 2, "groups": channels}
    self.depthwise = Convolution(channels, channels, (KERNEL,) * rank, **space, kernel_init=weights, rngs=rngs)
    self.norm = LayerNorm(channels)
    self.expand = Linear(channels, EXPANSION * channels, kernel_init=weights, rngs=rngs)
    self.project = Linear(EXPANSION * channels, channels, kernel_init=weights, rngs=rngs)
    self.layer_scale = LayerScale(channels, value=layer_scale)
    self.stochastic_depth = StochasticDepth(stochastic_depth_rate, rngs=rngs)

  def __call__(self, x: jax.Array) -> jax.Array:
    """x [batch, *spatial, channels], of the same shape afterwards."""
    y = self.expand(self.norm(self.depthwise(x)))
    y = self.project(jax.nn.gelu(y, approximate=False))
    return x + self.stochastic_depth(self.layer_scale(y))


class Downsampling(nnx.Module):
  """Between the stages: layer normalisation, then 2 x 2 with a stride of 2 (section 2.6)."""

  def __init__(self, in_channels: int, channels: int, *, rank: int = 2, rngs: nnx.Rngs):
    self.norm = LayerNorm(in_channels)
    space = {"strides": 2, "padding": "VALID"}
    self.conv = Convolution(in_channels, channels, (2,) * rank, **space, kernel_init=weights, rngs=rngs)

  def __call__(self, x: jax.Array) -> jax.Array:
    """x [batch, *spatial, in_channels] -> [batch, *spatial // 2, channels]."""
    return self.conv(self.norm(x))


class ConvNeXt(nnx.Module):
  """Four stages of blocks behind a stem that cuts the image into patches of 4 x 4.

  Args:
    channels: of each stage.
    blocks: how many each stage has.
    rank: number of spatial axes.
    layer_scale: where the scale of each residual branch starts.
    stochastic_depth_rate: of the last block; it grows linearly from 0 at the first.
    remat: computes the blocks' activations again in the backward pass in place of keeping them.

  Raises:
    UserError: unless `channels` and `blocks` have one number of at least 1 for each stage.
  """

  def __init__(
    self,
    channels: Sequence[int],
    blocks: Sequence[int],
    *,
    num_classes: int,
    in_channels: int,
    rank: int,
    layer_scale: float,
    stochastic_depth_rate: float,
    remat: bool,
    dtype,
    rngs: nnx.Rngs,
  ):
    if not blocks or len(blocks) != len(channels) or min(*blocks, *channels) < 1:
      raise UserError(f"channels={channels} and blocks={blocks} must have one number of at least 1 for each stage")
    self.remat, self.dtype = remat, dtype
    space = {"strides": STEM, "padding": "VALID"}
    self.stem = Convolution(in_channels, channels[0], (STEM,) * rank, **space, kernel_init=weights, rngs=rngs)
    self.stem_norm = LayerNorm(channels[0])
    rates = (stochastic_depth_rate * i / max(1, sum(blocks) - 1) for i in range(sum(blocks)))
    block = functools.partial(Block, layer_scale=layer_scale, rank=rank, rngs=rngs)
    self.stages = nnx.List(
      nnx.List(block(c, stochastic_depth_rate=next(rates)) for _ in range(count))
      for c, count in zip(channels, blocks, strict=True)
    )
    self.downsamplings = nnx.List(Downsampling(a, b, rank=rank, rngs=rngs) for a, b in itertools.pairwise(channels))
    self.norm = LayerNorm(channels[-1])
    self.classifier = Linear(channels[-1], num_classes, kernel_init=weights, rngs=rngs)

  def __call__(self, x: jax.Array) -> jax.Array:
    """x [batch, *spatial, in_channels] -> logits [batch, num_classes]."""
    x = self.stem_norm(self.stem(x.astype(self.dtype)))
    x = run_blocks(self.stages[0], x, remat=self.remat)
    for downsampling, stage in zip(self.downsamplings, self.stages[1:], strict=True):
      x = run_blocks(stage, downsampling(x), remat=self.remat)
    return self.classifier(self.norm(global_average_pool(x))).astype(jnp.float32)


def _register(name, size):
  def build(
    *,
    num_classes,
    in_channels,
    rank: int = 2,
    channels: tuple[int, ...] = size.channels,
    blocks: tuple[int, ...] = size.blocks,
    layer_scale: float = 1e-6,
    stochastic_depth_rate: float = size.stochastic_depth,
    remat: bool = False,
    dtype,
    rngs,
  ):
    return ConvNeXt(
      channels,
      blocks,
      num_classes=num_classes,
      in_channels=in_channels,
      rank=rank,
      layer_scale=layer_scale,
      stochastic_depth_rate=stochastic_depth_rate,
      remat=remat,
      dtype=dtype,
      rngs=rngs,
    )

  register(name, build, Setting())


for _name, _size in SIZES.items():
  _register(_name, _size)

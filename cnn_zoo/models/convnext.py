"""ConvNeXt (Liu et al. 2022, A ConvNet for the 2020s)."""

import functools
import itertools
from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from cnn_zoo.convolutions import Convolution
from cnn_zoo.convolutions.initializers import truncated_normal
from cnn_zoo.errors import UserError
from cnn_zoo.layers import LayerNorm, LayerScale, Linear, StochasticDepth, global_average_pool, run_blocks
from cnn_zoo.models.network import Network
from cnn_zoo.models.registry import register


class Size(NamedTuple):
  """Section 3: C and B of the four stages, and the stochastic depth of training on ImageNet-1K (Table 5)."""

  channels: tuple[int, ...]
  blocks: tuple[int, ...]
  stochastic_depth_rate: float


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
    channels: of the input and the output.
    layer_scale: where the scale of the branch starts.
    stochastic_depth_rate: how often training drops the branch.
    rank: number of spatial axes.
    rngs: the source of initial values and noise.
  """

  def __init__(self, channels: int, *, layer_scale: float, stochastic_depth_rate: float, rank: int = 2, rngs: nnx.Rngs):
    space: dict = {"padding": KERNEL // 2, "groups": channels}
    self.depthwise = Convolution(channels, channels, (KERNEL,) * rank, **space, kernel_init=weights, rngs=rngs)
    self.norm = LayerNorm(channels)
    self.expand = Linear(channels, EXPANSION * channels, kernel_init=weights, rngs=rngs)
    self.project = Linear(EXPANSION * channels, channels, kernel_init=weights, rngs=rngs)
    self.layer_scale = LayerScale(channels, value=layer_scale)
    self.stochastic_depth = StochasticDepth(stochastic_depth_rate, rngs=rngs)

  def __call__(self, x: jax.Array) -> jax.Array:
    """x [batch, *spatial, channels] -> the same shape."""
    y = self.expand(self.norm(self.depthwise(x)))
    y = self.project(jax.nn.gelu(y, approximate=False))
    return x + self.stochastic_depth(self.layer_scale(y))


class Downsampling(nnx.Module):
  """Between the stages: layer normalisation, then 2 x 2 with a stride of 2 (section 2.6)."""

  def __init__(self, in_channels: int, channels: int, *, rank: int = 2, rngs: nnx.Rngs):
    self.norm = LayerNorm(in_channels)
    space: dict = {"strides": 2, "padding": "VALID"}
    self.conv = Convolution(in_channels, channels, (2,) * rank, **space, kernel_init=weights, rngs=rngs)

  def __call__(self, x: jax.Array) -> jax.Array:
    """x [batch, *spatial, in_channels] -> [batch, *spatial // 2, channels]."""
    return self.conv(self.norm(x))


class ConvNeXt(Network):
  """A stem that cuts the image into patches of 4 x 4, and four stages of blocks.

  Features: "stage1" to "stage4", at a quarter to a 32nd of the input's size.

  Args:
    num_classes, in_channels, dtype, rngs: as `create_model`; num_classes=None leaves the classifier out.
    channels: of each stage.
    blocks: how many each stage has.
    rank: number of spatial axes.
    layer_scale: where the scale of each residual branch starts.
    stochastic_depth_rate: of the last block; it grows linearly from 0 at the first.
    remat: recomputes the blocks' inner activations in the backward pass instead of keeping them.

  Raises:
    UserError: unless `channels` and `blocks` have one number of at least 1 for each stage.
  """

  def __init__(
    self,
    *,
    num_classes: int | None,
    in_channels: int,
    channels: Sequence[int],
    blocks: Sequence[int],
    rank: int = 2,
    layer_scale: float = 1e-6,
    stochastic_depth_rate: float = 0.0,
    remat: bool = False,
    dtype,
    rngs: nnx.Rngs,
  ):
    if not blocks or len(blocks) != len(channels) or min(*blocks, *channels) < 1:
      raise UserError(f"channels={channels} and blocks={blocks} must have one number of at least 1 for each stage")
    super().__init__(num_classes, dtype)
    self.remat = remat
    space: dict = {"strides": STEM, "padding": "VALID"}
    self.stem = Convolution(in_channels, channels[0], (STEM,) * rank, **space, kernel_init=weights, rngs=rngs)
    self.stem_norm = LayerNorm(channels[0])
    rates = (stochastic_depth_rate * i / max(1, sum(blocks) - 1) for i in range(sum(blocks)))
    block = functools.partial(Block, layer_scale=layer_scale, rank=rank, rngs=rngs)
    self.stages = nnx.List(
      nnx.List(block(c, stochastic_depth_rate=next(rates)) for _ in range(count))
      for c, count in zip(channels, blocks, strict=True)
    )
    self.downsamplings = nnx.List(Downsampling(a, b, rank=rank, rngs=rngs) for a, b in itertools.pairwise(channels))
    if num_classes is not None:
      self.norm = LayerNorm(channels[-1])
      self.classifier = Linear(channels[-1], num_classes, kernel_init=weights, rngs=rngs)

  def features(self, x: jax.Array) -> OrderedDict[str, jax.Array]:
    """x [batch, *spatial, in_channels] -> the maps of the stages."""
    x, maps = self.stem_norm(self.stem(x.astype(self.dtype))), OrderedDict()
    for number, stage in enumerate(self.stages, start=1):
      x = self.downsamplings[number - 2](x) if number > 1 else x
      maps[f"stage{number}"] = x = run_blocks(stage, x, remat=self.remat)
    return maps

  def logits(self, x: jax.Array) -> jax.Array:
    """The last map -> logits [batch, num_classes]."""
    return self.classifier(self.norm(global_average_pool(x))).astype(jnp.float32)


for _name, _size in SIZES.items():
  register(_name, ConvNeXt, defaults=_size._asdict())

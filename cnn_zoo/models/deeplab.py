"""DeepLabv3 (Chen et al. 2017, Rethinking Atrous Convolution for Semantic Image Segmentation) on ResNets.

Where the paper leaves a choice it is torchvision's, whose weights fit.
"""

import functools

import jax
import jax.numpy as jnp
from flax import nnx

from cnn_zoo.errors import UserError
from cnn_zoo.layers import Dropout, global_average_pool, resize
from cnn_zoo.models.fcn import SegmentationResNet, Unit, score_layer
from cnn_zoo.models.registry import Setting, register

RATES = {16: (6, 12, 18), 8: (12, 24, 36)}  # dilations of the 3 x 3 convolutions by output stride (section 3.3)
CHANNELS = 256  # of every branch and of what follows
DROPOUT = 0.5


class Pyramid(nnx.Module):
  """Atrous spatial pyramid pooling (Figure 5): what lies at a place and around it, at several distances, side by side.

  A 1 x 1 convolution, 3 x 3 convolutions that are dilated by `rates`, and the mean over the map.
  """

  def __init__(self, in_channels, rates, *, rank, rngs):
    unit = functools.partial(Unit, rank=rank, rngs=rngs)
    dilated = [unit(in_channels, CHANNELS, 3, dilation=rate) for rate in rates]
    self.branches = nnx.List([unit(in_channels, CHANNELS, 1), *dilated])
    self.pooled = unit(in_channels, CHANNELS, 1)
    self.project = unit(CHANNELS * (len(self.branches) + 1), CHANNELS, 1)
    self.dropout = Dropout(DROPOUT, rngs=rngs)

  def __call__(self, x):
    """x [batch, *spatial, in_channels] -> [batch, *spatial, CHANNELS]."""
    sizes = x.shape[1:-1]
    mean = global_average_pool(x).reshape(x.shape[0], *[1] * len(sizes), x.shape[-1])
    branches = [*(branch(x) for branch in self.branches), resize(self.pooled(mean), sizes)]
    return self.dropout(self.project(jnp.concatenate(branches, -1)))


class DeepLabHead(nnx.Module):
  """The pyramid, a 3 x 3 convolution and a score for every class."""

  def __init__(self, in_channels, num_classes, rates, *, rank, rngs):
    self.pyramid = Pyramid(in_channels, rates, rank=rank, rngs=rngs)
    self.unit = Unit(CHANNELS, CHANNELS, 3, rank=rank, rngs=rngs)
    self.classifier = score_layer(CHANNELS, num_classes, rank=rank, rngs=rngs)

  def __call__(self, x: jax.Array) -> jax.Array:
    """x [batch, *spatial, in_channels] -> scores [batch, *spatial, num_classes]."""
    return self.classifier(self.unit(self.pyramid(x)))


class DeepLabV3(SegmentationResNet):
  """A dilated ResNet with a `DeepLabHead`, whose rates fit the output stride of 8 or 16."""

  def __init__(self, *, output_stride: int, **options):
    if output_stride not in RATES:
      raise UserError(f"output_stride={output_stride} must be 8 or 16")
    head = functools.partial(DeepLabHead, rates=RATES[output_stride])
    super().__init__(head, output_stride=output_stride, **options)


def _build(
  depth,
  *,
  num_classes,
  in_channels,
  rank: int = 2,
  output_stride: int = 8,
  aux_head: bool = False,
  remat: bool = False,
  dtype,
  rngs,
):
  return DeepLabV3(
    depth=depth,
    num_classes=num_classes,
    in_channels=in_channels,
    rank=rank,
    output_stride=output_stride,
    aux_head=aux_head,
    remat=remat,
    dtype=dtype,
    rngs=rngs,
  )


for _depth in (50, 101):
  register(f"deeplabv3_resnet{_depth}", functools.partial(_build, _depth), Setting((224, 224, 3), 21))

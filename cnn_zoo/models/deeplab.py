"""DeepLabv3 (Chen et al. 2017, Rethinking Atrous Convolution for Semantic Image Segmentation) on ResNets.

Where the paper leaves a choice it is torchvision's, whose weights fit.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx

from cnn_zoo.errors import UserError
from cnn_zoo.layers import Dropout, global_average_pool, resize
from cnn_zoo.models.fcn import SegmentationResNet, score_layer, unit
from cnn_zoo.models.registry import Setting, register

RATES = {16: (6, 12, 18), 8: (12, 24, 36)}  # dilations of the 3 x 3 convolutions by output stride (section 3.3)
CHANNELS = 256  # of every branch and of what follows
DROPOUT = 0.5


class Pyramid(nnx.Module):
  """Atrous spatial pyramid pooling (Figure 5): what lies at a place and around it, at several distances, concatenated.

  A 1 x 1 convolution, 3 x 3 convolutions that are dilated by `rates`, and the mean over the map.
  """

  def __init__(self, in_channels, rates, *, rank, rngs):
    one, three = (1,) * rank, (3,) * rank
    dilated = [unit(in_channels, CHANNELS, three, dilation=rate, rngs=rngs) for rate in rates]
    self.branches = nnx.List([unit(in_channels, CHANNELS, one, rngs=rngs), *dilated])
    self.pooled = unit(in_channels, CHANNELS, one, rngs=rngs)
    self.project = unit(CHANNELS * (len(self.branches) + 1), CHANNELS, one, rngs=rngs)
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
    self.unit = unit(CHANNELS, CHANNELS, (3,) * rank, rngs=rngs)
    self.classifier = score_layer(CHANNELS, num_classes, rank=rank, rngs=rngs)

  def __call__(self, x: jax.Array) -> jax.Array:
    """x [batch, *spatial, in_channels] -> scores [batch, *spatial, num_classes]."""
    return self.classifier(self.unit(self.pyramid(x)))


class DeepLabV3(SegmentationResNet):
  """A dilated ResNet with a `DeepLabHead`, whose rates fit the output stride of 8 or 16.

  The other arguments and the features are those of `fcn.SegmentationResNet`.

  Raises:
    UserError: for another output stride.
  """

  def __init__(self, *, head: Callable[..., nnx.Module], output_stride: int = 8, **options):
    if output_stride not in RATES:
      raise UserError(f"output_stride={output_stride} must be 8 or 16")
    head = functools.partial(head, rates=RATES[output_stride])
    super().__init__(head=head, output_stride=output_stride, **options)


for _depth in (50, 101):
  register(
    f"deeplabv3_resnet{_depth}", DeepLabV3, Setting(num_classes=21), backbone=f"resnet{_depth}", head=DeepLabHead
  )

"""MobileNetV2 (Sandler et al. 2018, MobileNetV2: Inverted Residuals and Linear Bottlenecks)."""

import functools
from collections import OrderedDict

import jax
import jax.numpy as jnp
from flax import nnx

from cnn_zoo.convolutions import InvertedBottleneck
from cnn_zoo.convolutions.initializers import normal
from cnn_zoo.layers import BatchNorm, ConvNorm, Dropout, Linear, global_average_pool
from cnn_zoo.models.network import Network, run_stages
from cnn_zoo.models.registry import register
from cnn_zoo.models.scaling import check_multipliers, scale_channels

# Table 2: expansion t, channels c, layers n, stride s of the first layer.
STEM, HEAD = 32, 1280
BOTTLENECKS = (
  (1, 16, 1, 1),
  (6, 24, 2, 2),
  (6, 32, 3, 2),
  (6, 64, 4, 2),
  (6, 96, 3, 1),
  (6, 160, 3, 2),
  (6, 320, 1, 1),
)


class MobileNetV2(Network):
  """Table 2 with ReLU6 after every convolution but the projections.

  Features: "stem" and "stage1" to "stage7", one for each row of the table; their reductions are 2, 2, 4, 8, 16, 16, 32
  and 32.

  Args:
    num_classes, in_channels, dtype, rngs: as `create_model`; num_classes=None leaves the classifier out.
    width: the width multiplier (section 4), of the channels of every layer; below 1 the last convolution keeps its own.
    dropout_rate: before the classifier.
    rank: number of spatial axes.
    remat: recomputes the blocks' inner activations in the backward pass instead of keeping them.
  """

  def __init__(
    self,
    *,
    num_classes: int | None,
    in_channels: int,
    rank: int = 2,
    width: float = 1.0,
    dropout_rate: float = 0.2,
    remat: bool = False,
    dtype,
    rngs: nnx.Rngs,
  ):
    check_multipliers(width=width)
    super().__init__(num_classes, dtype)
    self.remat = remat
    unit = functools.partial(ConvNorm, activation="relu6", rngs=rngs)
    features, head = scale_channels(STEM, width), scale_channels(HEAD, max(1.0, width))
    self.stem = unit(in_channels, features, (3,) * rank, strides=2)
    self.blocks = nnx.List()
    for t, c, n, s in BOTTLENECKS:
      channels = scale_channels(c, width)
      for stride in [s] + [1] * (n - 1):
        self.blocks.append(
          InvertedBottleneck(
            features,
            channels,
            (3,) * rank,
            expansion=t,
            strides=stride,
            padding=1,
            use_bias=False,
            normalization=BatchNorm,
            activation="relu6",
            rngs=rngs,
          )
        )
        features = channels
    if num_classes is not None:
      self.head = unit(features, head, (1,) * rank)
      self.dropout = Dropout(dropout_rate, rngs=rngs)
      self.classifier = Linear(head, num_classes, kernel_init=normal(0.01), rngs=rngs)

  def features(self, x: jax.Array) -> OrderedDict[str, jax.Array]:
    """x [batch, *spatial, in_channels] -> the maps of the stages."""
    maps = OrderedDict(stem=self.stem(x.astype(self.dtype)))
    return run_stages(maps, self.blocks, [n for _, _, n, _ in BOTTLENECKS], remat=self.remat)

  def logits(self, x: jax.Array) -> jax.Array:
    """The last map -> logits [batch, num_classes]."""
    return self.classifier(self.dropout(global_average_pool(self.head(x)))).astype(jnp.float32)


register("mobilenet_v2", MobileNetV2)

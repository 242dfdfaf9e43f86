"""MobileNetV2 (Sandler et al. 2018, MobileNetV2: Inverted Residuals and Linear Bottlenecks)."""

import functools

import jax
import jax.numpy as jnp
from flax import nnx

from cnn_zoo.convolutions import Convolution, InvertedBottleneck
from cnn_zoo.convolutions.initializers import normal
from cnn_zoo.layers import BatchNorm, Dropout, Linear, global_average_pool, run_blocks
from cnn_zoo.models.registry import Setting, register
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


class MobileNetV2(nnx.Module):
  """Table 2 with ReLU6 after every convolution but the projections.

  Args:
    width: the width multiplier (section 4), of the channels of every layer; below 1 the last convolution keeps its own.
    dropout_rate: before the classifier.
    rank: number of spatial axes.
    remat: computes the blocks' activations again in the backward pass in place of keeping them.
  """

  def __init__(
    self,
    *,
    num_classes: int,
    in_channels: int,
    rank: int = 2,
    width: float = 1.0,
    dropout_rate: float = 0.2,
    remat: bool = False,
    dtype,
    rngs: nnx.Rngs,
  ):
    check_multipliers(width=width)
    self.remat, self.dtype = remat, dtype
    conv = functools.partial(Convolution, use_bias=False, rngs=rngs)
    space = {"kernel_size": (3,) * rank, "padding": 1}
    features, head = scale_channels(STEM, width), scale_channels(HEAD, max(1.0, width))
    self.stem, self.stem_norm = conv(in_channels, features, strides=2, **space), BatchNorm(features)
    self.blocks = nnx.List()
    for t, c, n, s in BOTTLENECKS:
      channels = scale_channels(c, width)
      for stride in [s] + [1] * (n - 1):
        self.blocks.append(
          InvertedBottleneck(
            features,
            channels,
            expansion=t,
            strides=stride,
            use_bias=False,
            normalization=BatchNorm,
            activation="relu6",
            rngs=rngs,
            **space,
          )
        )
        features = channels
    self.head, self.head_norm = conv(features, head, (1,) * rank), BatchNorm(head)
    self.dropout = Dropout(dropout_rate, rngs=rngs)
    self.classifier = Linear(head, num_classes, kernel_init=normal(0.01), rngs=rngs)

  def __call__(self, x: jax.Array) -> jax.Array:
    """x [batch, *spatial, in_channels] -> logits [batch, num_classes]."""
    x = jax.nn.relu6(self.stem_norm(self.stem(x.astype(self.dtype))))
    x = run_blocks(self.blocks, x, remat=self.remat)
    x = jax.nn.relu6(self.head_norm(self.head(x)))
    return self.classifier(self.dropout(global_average_pool(x))).astype(jnp.float32)


register("mobilenet_v2", MobileNetV2, Setting())

"""MobileNet (Howard et al. 2017, MobileNets: Efficient CNNs for Mobile Vision Applications)."""

import jax
import jax.numpy as jnp
from flax import nnx

from cnn_zoo.convolutions import Convolution, DepthwiseSeparableConvolution
from cnn_zoo.convolutions.initializers import uniform_fan_out
from cnn_zoo.layers import BatchNorm, Linear, global_average_pool, run_blocks
from cnn_zoo.models.registry import Setting, register
from cnn_zoo.models.scaling import check_multipliers, scale_channels

# Table 1: the channels and the stride of each depthwise separable convolution. The last has stride 1, as everywhere:
# with the stride of 2 that the table prints, its output would not be the 7 x 7 of the next row.
STEM = 32
LAYERS = (
  (64, 1),
  (128, 2),
  (128, 1),
  (256, 2),
  (256, 1),
  (512, 2),
  *[(512, 1)] * 5,
  (1024, 2),
  (1024, 1),
)


class SeparableLayer(nnx.Module):
  """Figure 3, right: depthwise 3 x 3, pointwise, each with normalisation and ReLU6 (as in the authors' code)."""

  def __init__(self, in_channels: int, channels: int, *, stride: int, rank: int, rngs: nnx.Rngs):
    self.convolution = DepthwiseSeparableConvolution(
      in_channels,
      channels,
      (3,) * rank,
      strides=stride,
      padding=1,
      use_bias=False,
      normalization=BatchNorm,
      activation="relu6",
      rngs=rngs,
    )
    self.norm = BatchNorm(channels)

  def __call__(self, x: jax.Array) -> jax.Array:
    """x [batch, *spatial, in_channels] -> [batch, *spatial / stride, channels]."""
    return jax.nn.relu6(self.norm(self.convolution(x)))


class MobileNetV1(nnx.Module):
  """Table 1. The paper's resolution multiplier is the size of the images that it is given.

  Args:
    width: the width multiplier (section 3.3), of the channels of every layer.
    rank: number of spatial axes.
    remat: computes the layers' activations again in the backward pass in place of keeping them.
  """

  def __init__(
    self,
    *,
    num_classes: int,
    in_channels: int,
    rank: int = 2,
    width: float = 1.0,
    remat: bool = False,
    dtype,
    rngs: nnx.Rngs,
  ):
    check_multipliers(width=width)
    self.remat, self.dtype = remat, dtype
    features = scale_channels(STEM, width)
    self.stem = Convolution(in_channels, features, (3,) * rank, strides=2, padding=1, use_bias=False, rngs=rngs)
    self.stem_norm = BatchNorm(features)
    self.blocks = nnx.List()
    for channels, stride in LAYERS:
      channels = scale_channels(channels, width)
      self.blocks.append(SeparableLayer(features, channels, stride=stride, rank=rank, rngs=rngs))
      features = channels
    self.classifier = Linear(features, num_classes, kernel_init=uniform_fan_out, rngs=rngs)

  def __call__(self, x: jax.Array) -> jax.Array:
    """x [batch, *spatial, in_channels] -> logits [batch, num_classes]."""
    x = jax.nn.relu6(self.stem_norm(self.stem(x.astype(self.dtype))))
    x = run_blocks(self.blocks, x, remat=self.remat)
    return self.classifier(global_average_pool(x)).astype(jnp.float32)


register("mobilenet_v1", MobileNetV1, Setting())

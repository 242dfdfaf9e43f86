"""EfficientNet B0 to B7 (Tan and Le 2019, EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks)."""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from cnn_zoo.convolutions import Convolution
from cnn_zoo.convolutions.initializers import uniform_fan_out
from cnn_zoo.errors import UserError
from cnn_zoo.layers import BatchNorm, Dropout, Linear, SqueezeExcitation, StochasticDepth, global_average_pool
from cnn_zoo.models.registry import Setting, register


class Stage(NamedTuple):
  """A row of Table 1: `layers` MBConv blocks, the first of which has the stride."""

  expansion: int
  kernel: int
  stride: int
  channels: int
  layers: int


# Table 1, stages 2 to 8 of EfficientNet-B0.
STAGES = (
  Stage(1, 3, 1, 16, 1),
  Stage(6, 3, 2, 24, 2),
  Stage(6, 5, 2, 40, 2),
  Stage(6, 3, 2, 80, 3),
  Stage(6, 5, 1, 112, 3),
  Stage(6, 5, 2, 192, 4),
  Stage(6, 3, 1, 320, 1),
)
STEM, HEAD = 32, 1280  # channels of stages 1 and 9


class Scaling(NamedTuple):
  """A point of the compound scaling space (section 3.3) with the regularisation that goes with it."""

  width: float  # multiplies the channels
  depth: float  # multiplies the layers of each stage
  resolution: int  # pixels a side of the input in the paper; the network takes other sizes too
  dropout: float  # before the classifier
  epsilon: float  # of batch normalisation, as in torchvision's weights


SCALINGS = {
  "efficientnet_b0": Scaling(1.0, 1.0, 224, 0.2, 1e-5),
  "efficientnet_b1": Scaling(1.0, 1.1, 240, 0.2, 1e-5),
  "efficientnet_b2": Scaling(1.1, 1.2, 260, 0.3, 1e-5),
  "efficientnet_b3": Scaling(1.2, 1.4, 300, 0.3, 1e-5),
  "efficientnet_b4": Scaling(1.4, 1.8, 380, 0.4, 1e-5),
  "efficientnet_b5": Scaling(1.6, 2.2, 456, 0.4, 1e-3),
  "efficientnet_b6": Scaling(1.8, 2.6, 528, 0.5, 1e-3),
  "efficientnet_b7": Scaling(2.0, 3.1, 600, 0.5, 1e-3),
}


def scale_channels(channels: int, width: float) -> int:
  """`channels` times `width`, rounded to a multiple of 8, but never down by more than 10%."""
  scaled = channels * width
  rounded = max(8, int(scaled + 4) // 8 * 8)
  return rounded if rounded >= 0.9 * scaled else rounded + 8


def scale_layers(layers: int, depth: float) -> int:
  """`layers` times `depth`, rounded up."""
  return math.ceil(layers * depth)


class MBConv(nnx.Module):
  """Mobile inverted bottleneck: expand 1 x 1, depthwise k x k, squeeze and excite, project 1 x 1 (linear), residual."""

  def __init__(
    self, in_channels, channels, kernel, stride, expansion, *, epsilon, stochastic_depth_rate, rngs: nnx.Rngs
  ):
    conv = functools.partial(Convolution, use_bias=False, rngs=rngs)
    norm = functools.partial(BatchNorm, epsilon=epsilon)
    expanded = in_channels * expansion
    if expansion > 1:
      self.expand, self.expand_norm = conv(in_channels, expanded, (1, 1)), norm(expanded)
    else:
      self.expand = None
    self.depthwise = conv(expanded, expanded, (kernel, kernel), strides=stride, padding=kernel // 2, groups=expanded)
    self.depthwise_norm = norm(expanded)
    self.excite = SqueezeExcitation(expanded, max(1, in_channels // 4), rngs=rngs)
    self.project, self.project_norm = conv(expanded, channels, (1, 1)), norm(channels)
    self.residual = stride == 1 and in_channels == channels
    self.stochastic_depth = StochasticDepth(stochastic_depth_rate if self.residual else 0.0, rngs=rngs)

  def __call__(self, x):
    """x [batch, height, width, in_channels] -> [batch, height / stride, width / stride, channels]."""
    y = x if self.expand is None else jax.nn.silu(self.expand_norm(self.expand(x)))
    y = jax.nn.silu(self.depthwise_norm(self.depthwise(y)))
    y = self.project_norm(self.project(self.excite(y)))
    return x + self.stochastic_depth(y) if self.residual else y


class EfficientNet(nnx.Module):
  """Any point of the compound scaling space.

  Args:
    width: multiplies the channels of every stage.
    depth: multiplies the layers of every stage.
    dropout_rate: before the classifier.
    stochastic_depth_rate: of the last block; it grows linearly from 0 at the first.
    epsilon: of batch normalisation.
  """

  def __init__(
    self,
    *,
    num_classes: int,
    in_channels: int,
    width: float = 1.0,
    depth: float = 1.0,
    dropout_rate: float = 0.2,
    stochastic_depth_rate: float = 0.2,
    epsilon: float = 1e-5,
    dtype,
    rngs: nnx.Rngs,
  ):
    if width <= 0 or depth <= 0:
      raise UserError(f"width={width} and depth={depth} must be above 0")
    self.dtype = dtype
    stem, head = scale_channels(STEM, width), scale_channels(HEAD, width)
    self.stem = Convolution(in_channels, stem, (3, 3), strides=2, padding=1, use_bias=False, rngs=rngs)
    self.stem_norm = BatchNorm(stem, epsilon=epsilon)

    total = sum(scale_layers(stage.layers, depth) for stage in STAGES)
    blocks, features = [], stem
    for stage in STAGES:
      channels = scale_channels(stage.channels, width)
      for layer in range(scale_layers(stage.layers, depth)):
        blocks.append(
          MBConv(
            features,
            channels,
            stage.kernel,
            stage.stride if layer == 0 else 1,
            stage.expansion,
            epsilon=epsilon,
            stochastic_depth_rate=stochastic_depth_rate * len(blocks) / total,
            rngs=rngs,
          )
        )
        features = channels
    self.blocks = nnx.List(blocks)

    self.head = Convolution(features, head, (1, 1), use_bias=False, rngs=rngs)
    self.head_norm = BatchNorm(head, epsilon=epsilon)
    self.dropout = Dropout(dropout_rate, rngs=rngs)
    self.classifier = Linear(head, num_classes, kernel_init=uniform_fan_out, rngs=rngs)

  def __call__(self, x: jax.Array) -> jax.Array:
    """x [batch, height, width, in_channels] -> logits [batch, num_classes]."""
    x = jax.nn.silu(self.stem_norm(self.stem(x.astype(self.dtype))))
    for block in self.blocks:
      x = block(x)
    x = jax.nn.silu(self.head_norm(self.head(x)))
    return self.classifier(self.dropout(global_average_pool(x))).astype(jnp.float32)


def _register(name, scaling):
  def build(
    *,
    num_classes,
    in_channels,
    width: float = scaling.width,
    depth: float = scaling.depth,
    dropout_rate: float = scaling.dropout,
    stochastic_depth_rate: float = 0.2,
    epsilon: float = scaling.epsilon,
    dtype,
    rngs,
  ):
    return EfficientNet(
      num_classes=num_classes,
      in_channels=in_channels,
      width=width,
      depth=depth,
      dropout_rate=dropout_rate,
      stochastic_depth_rate=stochastic_depth_rate,
      epsilon=epsilon,
      dtype=dtype,
      rngs=rngs,
    )

  register(name, build, Setting((scaling.resolution, scaling.resolution, 3)))


for _name, _scaling in SCALINGS.items():
  _register(_name, _scaling)

"""EfficientNet B0 to B7 (Tan and Le 2019, EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks)."""

import functools
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from cnn_zoo.convolutions.initializers import uniform_fan_out
from cnn_zoo.layers import (
  BatchNorm,
  ConvNorm,
  Dropout,
  Linear,
  SqueezeExcitation,
  StochasticDepth,
  global_average_pool,
)
from cnn_zoo.models.network import Network, run_stages
from cnn_zoo.models.registry import Setting, register
from cnn_zoo.models.scaling import check_multipliers, scale_channels, scale_layers


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
ALPHA, BETA, GAMMA = 1.2, 1.1, 1.15  # of depth, width and resolution, found by search on B0 (section 3.3, step 1)


def compound_scaling(phi: float) -> tuple[float, float, int]:
  """Equation 3: the width, the depth and the resolution in pixels for about 2^phi times the multiply-adds of B0.

  The first two are the options `width` and `depth` of every EfficientNet, the third is the size of its images. B1 to B7
  were published as points near this curve, from phi = 0.5 to 7.

  Example:
    >>> from cnn_zoo.models.efficientnet import compound_scaling
    >>> compound_scaling(1)
    (1.1, 1.2, 258)
  """
  return BETA**phi, ALPHA**phi, round(SCALINGS["efficientnet_b0"].resolution * GAMMA**phi)


def unit_of(*, epsilon: float = 1e-5, same_padding: bool = False, rngs: nnx.Rngs) -> Callable[..., ConvNorm]:
  """The unit of both EfficientNet papers: a convolution, normalisation and SiLU.

  Args:
    epsilon: of batch normalisation.
    same_padding: pads as TensorFlow's SAME, instead of k // 2 on either side.
    rngs: the source of initial values.
  """
  norm = functools.partial(BatchNorm, epsilon=epsilon)
  return functools.partial(ConvNorm, padding="SAME" if same_padding else None, norm=norm, activation="silu", rngs=rngs)


class MBConv(nnx.Module):
  """Mobile inverted bottleneck: expand 1 x 1, depthwise k x k, squeeze and excite, project 1 x 1 (linear), residual.

  Args:
    in_channels: channels of the input.
    channels: channels of the output.
    kernel: size of the depthwise convolution along every axis.
    stride: of the depthwise convolution.
    expansion: how many times the channels are widened for the depthwise step; 1 leaves out the first step.
    rank: number of spatial axes.
    unit: makes a convolution with normalisation and activation (`unit_of`).
    stochastic_depth_rate: how often training drops the branch, where there is a residual.
    rngs: the source of initial values and noise.
  """

  def __init__(self, in_channels, channels, *, kernel, stride, expansion, rank=2, unit, stochastic_depth_rate, rngs):
    one, expanded = (1,) * rank, in_channels * expansion
    self.expand = unit(in_channels, expanded, one) if expansion > 1 else None
    self.depthwise = unit(expanded, expanded, (kernel,) * rank, strides=stride, groups=expanded)
    self.excite = SqueezeExcitation(expanded, max(1, in_channels // 4), rank=rank, rngs=rngs)
    self.project = unit(expanded, channels, one, activation=None)
    self.residual = stride == 1 and in_channels == channels
    self.stochastic_depth = StochasticDepth(stochastic_depth_rate if self.residual else 0.0, rngs=rngs)

  def __call__(self, x: jax.Array) -> jax.Array:
    """x [batch, *spatial, in_channels] -> [batch, *spatial / stride, channels]."""
    y = x if self.expand is None else self.expand(x)
    y = self.project(self.excite(self.depthwise(y)))
    return x + self.stochastic_depth(y) if self.residual else y


class EfficientNet(Network):
  """A stem, stages of blocks and a head: the network of both EfficientNet papers.

  Features: "stem" at half the size of the input, and "stage1" to "stage7" (one for each of `stages`); the reduction of
  a stage is 2 times the strides of the stages up to it.

  Args:
    num_classes, in_channels, dtype, rngs: as `create_model`; num_classes=None leaves the classifier out.
    stages: one for each run of blocks of the same channels.
    blocks: the class of each stage's blocks.
    stem, head: channels before and after the stages.
    rank: number of spatial axes.
    width, depth: multiply the channels and the layers of every stage.
    dropout_rate: before the classifier.
    stochastic_depth_rate: of the last block; it grows linearly from 0 at the first.
    epsilon: of batch normalisation.
    same_padding: pads as TensorFlow's SAME, instead of k // 2 on either side.
    remat: recomputes the blocks' inner activations in the backward pass instead of keeping them.
  """

  head_grows = True  # with the width

  def __init__(
    self,
    *,
    num_classes: int | None,
    in_channels: int,
    stages: Sequence[Stage],
    blocks: Sequence[Callable[..., nnx.Module]],
    stem: int = STEM,
    head: int = HEAD,
    rank: int = 2,
    width: float = 1.0,
    depth: float = 1.0,
    dropout_rate: float = 0.2,
    stochastic_depth_rate: float = 0.2,
    epsilon: float = 1e-5,
    same_padding: bool = False,
    remat: bool = False,
    dtype,
    rngs: nnx.Rngs,
  ):
    super().__init__(num_classes, dtype)
    self.remat = remat
    stages, stem = scale_stages(stages, width, depth), scale_channels(stem, width)
    head = scale_channels(head, width) if self.head_grows else head
    self.layers = tuple(stage.layers for stage in stages)
    unit = unit_of(epsilon=epsilon, same_padding=same_padding, rngs=rngs)
    self.stem = unit(in_channels, stem, (3,) * rank, strides=2)

    made, features = [], stem
    for stage, block in zip(stages, blocks, strict=True):
      for layer in range(stage.layers):
        made.append(
          block(
            features,
            stage.channels,
            kernel=stage.kernel,
            stride=stage.stride if layer == 0 else 1,
            expansion=stage.expansion,
            rank=rank,
            unit=unit,
            stochastic_depth_rate=stochastic_depth_rate * len(made) / sum(self.layers),
            rngs=rngs,
          )
        )
        features = stage.channels
    self.blocks = nnx.List(made)

    if num_classes is not None:
      self.head = unit(features, head, (1,) * rank)
      self.dropout = Dropout(dropout_rate, rngs=rngs)
      self.classifier = Linear(head, num_classes, kernel_init=uniform_fan_out, rngs=rngs)

  def features(self, x: jax.Array) -> OrderedDict[str, jax.Array]:
    """x [batch, *spatial, in_channels] -> the maps of the stages."""
    maps = OrderedDict(stem=self.stem(x.astype(self.dtype)))
    return run_stages(maps, self.blocks, self.layers, remat=self.remat)

  def logits(self, x: jax.Array) -> jax.Array:
    """The last map -> logits [batch, num_classes]."""
    return self.classifier(self.dropout(global_average_pool(self.head(x)))).astype(jnp.float32)


def scale_stages(stages: Sequence[Stage], width: float, depth: float) -> list[Stage]:
  """The stages `width` times as wide and `depth` times as deep; raises UserError unless both are above 0."""
  check_multipliers(width=width, depth=depth)
  return [
    stage._replace(channels=scale_channels(stage.channels, width), layers=scale_layers(stage.layers, depth))
    for stage in stages
  ]


for _name, _scaling in SCALINGS.items():
  register(
    _name,
    EfficientNet,
    Setting((_scaling.resolution, _scaling.resolution, 3)),
    defaults={
      "width": _scaling.width,
      "depth": _scaling.depth,
      "dropout_rate": _scaling.dropout,
      "epsilon": _scaling.epsilon,
    },
    stages=STAGES,
    blocks=[MBConv] * len(STAGES),
    stem=STEM,
    head=HEAD,
    same_padding=False,
  )

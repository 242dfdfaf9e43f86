"""MobileNet (Howard et al. 2017, MobileNets: Efficient CNNs for Mobile Vision Applications)."""

import functools
from collections import OrderedDict

import jax
import jax.numpy as jnp
from flax import nnx

from cnn_zoo.convolutions import DepthwiseSeparableConvolution
from cnn_zoo.convolutions.initializers import uniform_fan_out
from cnn_zoo.layers import BatchNorm, ConvNorm, Linear, global_average_pool
from cnn_zoo.models.network import Network, run_stages
from cnn_zoo.models.registry import register
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
STAGES = (1, 2, 2, 6, 2)  # layers at each size of the map


class MobileNetV1(Network):
  """Table 1. The paper's resolution multiplier is the size of the images.

  Features: "stem" and "stage1" at half the size of the input, and "stage2" to "stage5" at a quarter to a 32nd of it. A
  stage ends before the next stride.

  Args:
    num_classes, in_channels, dtype, rngs: as `create_model`; num_classes=None leaves the classifier out.
    width: the width multiplier (section 3.3), of the channels of every layer.
    rank: number of spatial axes.
    remat: recomputes the layers' inner activations in the backward pass instead of keeping them.
  """

  def __init__(
    self,
    *,
    num_classes: int | None,
    in_channels: int,
    rank: int = 2,
    width: float = 1.0,
    remat: bool = False,
    dtype,
    rngs: nnx.Rngs,
  ):
    check_multipliers(width=width)
    super().__init__(num_classes, dtype)
    self.remat = remat
    features = scale_channels(STEM, width)
    self.stem = ConvNorm(in_channels, features, (3,) * rank, strides=2, activation="relu6", rngs=rngs)
    # Figure 3, right: depthwise 3 x 3, pointwise, each with normalisation and ReLU6 (as in the authors' code).
    inner = functools.partial(DepthwiseSeparableConvolution, normalization=BatchNorm, activation="relu6")
    layer = functools.partial(ConvNorm, kernel_size=(3,) * rank, conv=inner, activation="relu6", rngs=rngs)
    self.blocks = nnx.List()
    for channels, stride in LAYERS:
      channels = scale_channels(channels, width)
      self.blocks.append(layer(features, channels, strides=stride))
      features = channels
    if num_classes is not None:
      self.classifier = Linear(features, num_classes, kernel_init=uniform_fan_out, rngs=rngs)

  def features(self, x: jax.Array) -> OrderedDict[str, jax.Array]:
    """x [batch, *spatial, in_channels] -> the maps of the stages."""
    maps = OrderedDict(stem=self.stem(x.astype(self.dtype)))
    return run_stages(maps, self.blocks, STAGES, remat=self.remat)

  def logits(self, x: jax.Array) -> jax.Array:
    """The last map -> logits [batch, num_classes]."""
    return self.classifier(global_average_pool(x)).astype(jnp.float32)


register("mobilenet_v1", MobileNetV1)

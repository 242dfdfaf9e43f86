"""FCN (Long, Shelhamer and Darrell 2015, Fully Convolutional Networks for Semantic Segmentation).

On VGG-16 as in the paper, and on a dilated ResNet as torchvision, whose weights fit at depths 50 and 101.
"""

import functools
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from cnn_zoo.convolutions import Convolution, TransposedConvolution
from cnn_zoo.convolutions.initializers import bilinear, he_normal_fan_in, uniform_fan_in, zeros
from cnn_zoo.errors import check_name
from cnn_zoo.layers import ConvNorm, Dropout, resize
from cnn_zoo.layers.upsampling import UPSAMPLING, crop, pad_to_multiple
from cnn_zoo.models import vgg
from cnn_zoo.models.network import Network
from cnn_zoo.models.registry import Setting, create_model, register

# Figure 3: the stages of VGG-16 whose pooled maps are scored too, from coarse to fine: pool4 and pool3.
FUSED = {"fcn32s": (), "fcn16s": (4,), "fcn8s": (4, 3)}
STRIDE = 2 ** len(vgg.CHANNELS)  # of its last map
FC6 = 7  # the kernel of what was the first fully connected layer

SHRINKING = 4  # a head's hidden layer has that many times fewer channels than its input
DROPOUT = 0.1  # before a head's classifier


class FCN(Network):
  """VGG-16 with convolutions for its fully connected layers: a score for every class at every place, enlarged.

  Scores of finer maps are added on the way back to the input's size (section 4.2). Where the paper pads the input by
  100 on all sides, because its fc6 has no padding of its own, and crops the excess, here fc6 keeps the size and the
  input gets zeros at its ends until 32 divides its sizes. So inputs of any size work, and the maps are exactly aligned.

  Features: those of VGG, "stage1" to "stage5", and "fc7", at a 32nd of the input's size with the zeros at its ends.

  Args:
    num_classes, in_channels, dtype, rngs: as `create_model`; num_classes=None leaves the classifier out.
    fused: the stages whose maps are scored too, from coarse to fine.
    rank: number of spatial axes.
    hidden_features: channels of fc6 and fc7.
    dropout_rate: of their outputs.
    upsampling: "transposed" learns transposed convolutions that interpolate at first, as in the paper; "bilinear" and
      "nearest" interpolate, without weights.
    remat: recomputes the stages' inner activations in the backward pass instead of keeping them.
  """

  def __init__(
    self,
    *,
    num_classes: int | None,
    in_channels: int,
    fused: Sequence[int],
    rank: int = 2,
    hidden_features: int = 4096,
    dropout_rate: float = 0.5,
    upsampling: str = "transposed",
    remat: bool = False,
    dtype,
    rngs: nnx.Rngs,
  ):
    check_name("upsampling", upsampling, UPSAMPLING)
    super().__init__(num_classes, dtype)
    self.fused, self.upsampling = tuple(fused), upsampling
    backbone: dict = {"in_channels": in_channels, "rank": rank, "remat": remat, "dtype": dtype, "rngs": rngs}
    self.backbone: Any = create_model("vgg16", features_only=True, **backbone)
    one = (1,) * rank
    hidden: dict = {"kernel_init": he_normal_fan_in, "rngs": rngs}
    self.fc6 = Convolution(vgg.CHANNELS[-1], hidden_features, (FC6,) * rank, **hidden)
    self.fc7 = Convolution(hidden_features, hidden_features, one, **hidden)
    self.dropouts = nnx.List([Dropout(dropout_rate, rngs=rngs) for _ in range(2)])
    if num_classes is None:
      return
    # Scores start at zero (section 4.3): the finer ones do not disturb the coarse ones.
    score = functools.partial(Convolution, kernel_init=zeros, rngs=rngs)
    self.classifier = score(hidden_features, num_classes, one)
    self.scores = nnx.List([score(vgg.CHANNELS[stage - 1], num_classes, one) for stage in fused])
    self.factors = (*[2] * len(fused), STRIDE // 2 ** len(fused))
    enlarge = functools.partial(TransposedConvolution, use_bias=False, kernel_init=bilinear, rngs=rngs)
    self.enlargements = nnx.List(
      [enlarge(num_classes, num_classes, (2 * factor,) * rank, strides=factor) for factor in self.factors]
      if upsampling == "transposed"
      else []
    )

  def features(self, x: jax.Array) -> OrderedDict[str, jax.Array]:
    """x [batch, *spatial, in_channels] -> the maps of VGG's stages and of fc7."""
    maps = self.backbone.features(pad_to_multiple(x.astype(self.dtype), STRIDE))
    x = maps["stage5"]
    for layer, dropout in zip((self.fc6, self.fc7), self.dropouts, strict=True):
      x = dropout(jax.nn.relu(layer(x)))
    maps["fc7"] = x
    return maps

  def __call__(self, x: jax.Array) -> jax.Array | OrderedDict[str, jax.Array]:
    """x [batch, *spatial, in_channels] -> logits [batch, *spatial, num_classes], or the features."""
    maps = self.features(x)
    if self.num_classes is None:
      return maps
    y = self.classifier(maps["fc7"]).astype(jnp.float32)
    for step, (stage, score) in enumerate(zip(self.fused, self.scores, strict=True)):
      y = self._enlarged(y, step) + score(maps[f"stage{stage}"]).astype(jnp.float32)
    return crop(self._enlarged(y, len(self.fused)), x.shape[1:-1])

  def _enlarged(self, x, step):
    if self.upsampling == "transposed":
      return self.enlargements[step](x)
    return resize(x, [self.factors[step] * size for size in x.shape[1:-1]], self.upsampling)


unit = functools.partial(ConvNorm, kernel_init=uniform_fan_in)  # of the heads


class FCNHead(nnx.Module):
  """torchvision's: a 3 x 3 convolution to a quarter of the channels, dropout, and a score for every class."""

  def __init__(self, in_channels, num_classes, *, rank, rngs):
    self.unit = unit(in_channels, in_channels // SHRINKING, (3,) * rank, rngs=rngs)
    self.dropout = Dropout(DROPOUT, rngs=rngs)
    self.classifier = score_layer(in_channels // SHRINKING, num_classes, rank=rank, rngs=rngs)

  def __call__(self, x):
    """x [batch, *spatial, in_channels] -> scores [batch, *spatial, num_classes]."""
    return self.classifier(self.dropout(self.unit(x)))


def score_layer(in_channels: int, num_classes: int, *, rank: int, rngs: nnx.Rngs) -> Convolution:
  """The 1 x 1 convolution that a head ends with."""
  init: dict = {"kernel_init": uniform_fan_in, "bias_init": uniform_fan_in}
  return Convolution(in_channels, num_classes, (1,) * rank, **init, rngs=rngs)


class SegmentationResNet(Network):
  """A ResNet that dilates where it would get too small, a head on its last map, and scores resized to the input's size.

  Features: those of the ResNet, "conv1" to "conv5"; the last ones are `output_stride` times smaller than the input.

  Args:
    num_classes, in_channels, dtype, rngs: as `create_model`; num_classes=None leaves the classifier out.
    backbone: the name of the ResNet.
    head: `head(in_channels, num_classes, rank=, rngs=)` makes scores of a map.
    rank: number of spatial axes.
    output_stride: how many times smaller the last map is than the input; torchvision's is 8.
    aux_head: a second head, an `FCNHead` on conv4_x, which runs in training only.
    remat: recomputes the blocks' inner activations in the backward pass instead of keeping them.
  """

  def __init__(
    self,
    *,
    num_classes: int | None,
    in_channels: int,
    backbone: str,
    head: Callable[..., nnx.Module],
    rank: int = 2,
    output_stride: int = 8,
    aux_head: bool = False,
    remat: bool = False,
    dtype,
    rngs: nnx.Rngs,
  ):
    super().__init__(num_classes, dtype)
    options: dict = {"in_channels": in_channels, "rank": rank, "output_stride": output_stride, "remat": remat}
    self.backbone: Any = create_model(backbone, features_only=True, **options, dtype=dtype, rngs=rngs)
    self.deterministic = False
    if num_classes is not None:
      *_, middle, last = self.backbone.channels
      self.head = head(last, num_classes, rank=rank, rngs=rngs)
      self.auxiliary = FCNHead(middle, num_classes, rank=rank, rngs=rngs) if aux_head else None

  def features(self, x: jax.Array) -> OrderedDict[str, jax.Array]:
    """x [batch, *spatial, in_channels] -> the maps of the ResNet."""
    return self.backbone.features(x)

  def __call__(self, x: jax.Array):
    """x [batch, *spatial, in_channels] -> logits [batch, *spatial, num_classes], or the features.

    In training with an auxiliary head: (logits, (its logits,)).
    """
    maps = self.features(x)
    if self.num_classes is None:
      return maps
    logits = _resized(self.head(maps["conv5"]), x)
    if self.deterministic or self.auxiliary is None:
      return logits
    return logits, (_resized(self.auxiliary(maps["conv4"]), x),)


def _resized(scores, x):
  return resize(scores.astype(jnp.float32), x.shape[1:-1])


for _name, _fused in FUSED.items():
  register(_name, FCN, Setting(num_classes=21), fused=_fused)
for _depth in (18, 50, 101):
  register(f"fcn_resnet{_depth}", SegmentationResNet, Setting(num_classes=21), backbone=f"resnet{_depth}", head=FCNHead)

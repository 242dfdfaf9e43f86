"""FCN (Long, Shelhamer and Darrell 2015, Fully Convolutional Networks for Semantic Segmentation).

On VGG-16 as in the paper, and on a dilated ResNet as torchvision, whose weights fit at depths 50 and 101.
"""

import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from cnn_zoo.convolutions import Convolution, TransposedConvolution
from cnn_zoo.convolutions.initializers import bilinear, he_normal_fan_in, uniform_fan_in, zeros
from cnn_zoo.errors import check_name
from cnn_zoo.layers import BatchNorm, Dropout, resize, run_blocks
from cnn_zoo.layers.upsampling import UPSAMPLING, crop, pad_to_multiple
from cnn_zoo.models import resnet, vgg
from cnn_zoo.models.registry import Setting, register

# Figure 3: the stages of VGG-16 whose pooled maps are scored too, from coarse to fine; 3 is the one of pool4.
FUSED = {"fcn32s": (), "fcn16s": (3,), "fcn8s": (3, 2)}
DEPTH = 16  # of VGG
STRIDE = 2 ** len(vgg.CHANNELS)  # of its last map
FC6 = 7  # the kernel of what was the first fully connected layer

AUXILIARY_STAGE = 2  # of ResNet's stages, the one that the auxiliary head sees: conv4_x
SHRINKING = 4  # a head's hidden layer has that many times fewer channels than its input
DROPOUT = 0.1  # before a head's classifier


class FCN(nnx.Module):
  """VGG-16 with convolutions for its fully connected layers: a score for every class at every place, enlarged.

  Scores of finer maps are added on the way back to the input's size (section 4.2). Where the paper pads the input by
  100 on all sides, because its fc6 has no padding of its own, and crops what is too much, here fc6 keeps the size and
  the input gets zeros at its ends until 32 divides its sizes. So inputs of any size work, and the maps lie exactly on
  one another.

  Args:
    fused: the stages whose maps are scored too, from coarse to fine.
    rank: number of spatial axes.
    hidden_features: channels of fc6 and fc7.
    dropout_rate: of their outputs.
    upsampling: "transposed" learns transposed convolutions that interpolate to begin with, as in the paper; "bilinear"
      and "nearest" interpolate, without weights.
    remat: computes the stages' activations again in the backward pass in place of keeping them.
  """

  def __init__(
    self,
    fused: Sequence[int],
    *,
    num_classes: int,
    in_channels: int,
    rank: int,
    hidden_features: int,
    dropout_rate: float,
    upsampling: str,
    remat: bool,
    dtype,
    rngs: nnx.Rngs,
  ):
    check_name("upsampling", upsampling, UPSAMPLING)
    self.fused, self.upsampling, self.remat, self.dtype = tuple(fused), upsampling, remat, dtype
    inputs = (in_channels, *vgg.CHANNELS)
    stages = zip(inputs, vgg.CHANNELS, vgg.LAYERS[DEPTH], strict=False)
    self.stages = nnx.List([vgg.Stage(*stage, batch_norm=False, rank=rank, rngs=rngs) for stage in stages])
    one, hidden = (1,) * rank, {"kernel_init": he_normal_fan_in, "rngs": rngs}
    self.fc6 = Convolution(inputs[-1], hidden_features, (FC6,) * rank, **hidden)
    self.fc7 = Convolution(hidden_features, hidden_features, one, **hidden)
    self.dropouts = nnx.List([Dropout(dropout_rate, rngs=rngs) for _ in range(2)])
    # Scores start at zero (section 4.3): the finer ones do not disturb the coarse ones.
    score = functools.partial(Convolution, kernel_init=zeros, rngs=rngs)
    self.classifier = score(hidden_features, num_classes, one)
    self.scores = nnx.List([score(vgg.CHANNELS[stage], num_classes, one) for stage in fused])
    self.factors = (*[2] * len(fused), STRIDE // 2 ** len(fused))
    enlarge = functools.partial(TransposedConvolution, use_bias=False, kernel_init=bilinear, rngs=rngs)
    self.enlargements = nnx.List(
      [enlarge(num_classes, num_classes, (2 * factor,) * rank, strides=factor) for factor in self.factors]
      if upsampling == "transposed"
      else []
    )

  def __call__(self, x: jax.Array) -> jax.Array:
    """x [batch, *spatial, in_channels] -> logits [batch, *spatial, num_classes]."""
    sizes, maps = x.shape[1:-1], []
    x = pad_to_multiple(x.astype(self.dtype), STRIDE)
    for stage in self.stages:
      x = run_blocks([stage], x, remat=self.remat)
      maps.append(x)
    for layer, dropout in zip((self.fc6, self.fc7), self.dropouts, strict=True):
      x = dropout(jax.nn.relu(layer(x)))
    x = self.classifier(x).astype(jnp.float32)
    for step, (stage, score) in enumerate(zip(self.fused, self.scores, strict=True)):
      x = self._enlarged(x, step) + score(maps[stage]).astype(jnp.float32)
    return crop(self._enlarged(x, len(self.fused)), sizes)

  def _enlarged(self, x, step):
    if self.upsampling == "transposed":
      return self.enlargements[step](x)
    return resize(x, [self.factors[step] * size for size in x.shape[1:-1]], self.upsampling)


class Unit(nnx.Module):
  """A convolution without bias that keeps the size, batch normalisation and ReLU."""

  def __init__(self, in_channels, channels, size, *, dilation=1, rank, rngs):
    space = {"padding": dilation * (size // 2), "dilation": dilation}
    self.conv = Convolution(
      in_channels, channels, (size,) * rank, **space, use_bias=False, kernel_init=uniform_fan_in, rngs=rngs
    )
    self.norm = BatchNorm(channels)

  def __call__(self, x):
    """x [batch, *spatial, in_channels] -> [batch, *spatial, channels]."""
    return jax.nn.relu(self.norm(self.conv(x)))


class FCNHead(nnx.Module):
  """torchvision's: a 3 x 3 convolution to a quarter of the channels, dropout, and a score for every class."""

  def __init__(self, in_channels, num_classes, *, rank, rngs):
    self.unit = Unit(in_channels, in_channels // SHRINKING, 3, rank=rank, rngs=rngs)
    self.dropout = Dropout(DROPOUT, rngs=rngs)
    self.classifier = score_layer(in_channels // SHRINKING, num_classes, rank=rank, rngs=rngs)

  def __call__(self, x):
    """x [batch, *spatial, in_channels] -> scores [batch, *spatial, num_classes]."""
    return self.classifier(self.dropout(self.unit(x)))


def score_layer(in_channels: int, num_classes: int, *, rank: int, rngs: nnx.Rngs) -> Convolution:
  """The 1 x 1 convolution that a head ends with."""
  init = {"kernel_init": uniform_fan_in, "bias_init": uniform_fan_in}
  return Convolution(in_channels, num_classes, (1,) * rank, **init, rngs=rngs)


class SegmentationResNet(nnx.Module):
  """A ResNet that dilates where it would get too small, a head on its last map, and scores resized to the input's size.

  Args:
    head: `head(in_channels, num_classes, rank=, rngs=)` makes scores of a map.
    depth: of the ResNet: 18, 34, 50, 101 or 152.
    rank: number of spatial axes.
    output_stride: how many times smaller the last map is than the input; torchvision's is 8.
    aux_head: a second head, an `FCNHead` on conv4_x, which runs in training alone.
    remat: computes the blocks' activations again in the backward pass in place of keeping them.
  """

  def __init__(
    self,
    head: Callable[..., nnx.Module],
    *,
    depth: int,
    num_classes: int,
    in_channels: int,
    rank: int,
    output_stride: int,
    aux_head: bool,
    remat: bool,
    dtype,
    rngs: nnx.Rngs,
  ):
    blocks = {"block": resnet.BLOCKS[depth], "layers": resnet.LAYERS[depth]}
    trunk = {"in_channels": in_channels, "output_stride": output_stride, "remat": remat, "dtype": dtype}
    self.backbone = resnet.ResNetTrunk(**blocks, **trunk, rank=rank, rngs=rngs)
    *_, middle, last = self.backbone.channels
    self.head = head(last, num_classes, rank=rank, rngs=rngs)
    self.auxiliary = FCNHead(middle, num_classes, rank=rank, rngs=rngs) if aux_head else None
    self.deterministic = False

  def __call__(self, x: jax.Array) -> jax.Array | tuple[jax.Array, tuple[jax.Array]]:
    """x [batch, *spatial, in_channels] -> logits [batch, *spatial, num_classes].

    In training with an auxiliary head: (logits, (its logits,)).
    """
    *_, middle, last = self.backbone.features(x)
    logits = _resized(self.head(last), x)
    if self.deterministic or self.auxiliary is None:
      return logits
    return logits, (_resized(self.auxiliary(middle), x),)


def _resized(scores, x):
  return resize(scores.astype(jnp.float32), x.shape[1:-1])


def _build(
  name,
  *,
  num_classes,
  in_channels,
  rank: int = 2,
  hidden_features: int = 4096,
  dropout_rate: float = 0.5,
  upsampling: str = "transposed",
  remat: bool = False,
  dtype,
  rngs,
):
  return FCN(
    FUSED[name],
    num_classes=num_classes,
    in_channels=in_channels,
    rank=rank,
    hidden_features=hidden_features,
    dropout_rate=dropout_rate,
    upsampling=upsampling,
    remat=remat,
    dtype=dtype,
    rngs=rngs,
  )


def _build_resnet(
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
  return SegmentationResNet(
    FCNHead,
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


for _name in FUSED:
  register(_name, functools.partial(_build, _name), Setting((224, 224, 3), 21))
for _depth in (18, 50, 101):
  register(f"fcn_resnet{_depth}", functools.partial(_build_resnet, _depth), Setting((224, 224, 3), 21))

"""Residual networks for clips.

R3D has 3-D convolutions, MC3 3-D and then 2-D ones, and R(2+1)D 2-D ones, each followed by a 1-D one along time.
Source: Tran et al. 2018, A Closer Look at Spatiotemporal Convolutions for Action Recognition.

Where the paper leaves a choice it is torchvision's, whose weights fit.
"""

import functools
from collections import OrderedDict
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from cnn_zoo.convolutions import Convolution, SpatiallySeparableConvolution
from cnn_zoo.convolutions.initializers import normal
from cnn_zoo.errors import UserError
from cnn_zoo.layers import BatchNorm, ConvNorm, Linear, global_average_pool, run_blocks
from cnn_zoo.models.network import Network
from cnn_zoo.models.registry import Setting, register

# Table 1 and figure 1: which convolutions conv1 and conv2_x to conv5_x have.
NETWORKS = {
  "r3d_18": ("3d", "3d", "3d", "3d", "3d"),
  "mc3_18": ("3d", "3d", "2d", "2d", "2d"),
  "r2plus1d_18": ("2+1d", "2+1d", "2+1d", "2+1d", "2+1d"),
}
LAYERS = (2, 2, 2, 2)  # blocks of conv2_x to conv5_x
STEM = 64  # channels of conv1, which is 3 x 7 x 7
STEM_BETWEEN = 45  # channels between its two steps in R(2+1)D, as torchvision; the paper's formula gives 83
CHANNELS = (64, 128, 256, 512)  # of conv2_x to conv5_x
STRIDES = (1, 2, 2, 2)  # of the first block of conv2_x to conv5_x; conv1 has 2 in space alone


def channels_between(in_channels: int, channels: int) -> int:
  """Channels between the two steps of a (2+1)-D convolution with which it has the weights of a 3 x 3 x 3 one.

  Section 3.5: floor(t d^2 N_in N_out / (d^2 N_in + t N_out)) for t = d = 3.
  """
  return 27 * in_channels * channels // (9 * in_channels + 3 * channels)


def stage_strides(kind: str, stride: int) -> tuple[int, int, int]:
  """The strides of a block along [frames, height, width]: 2-D convolutions have none along time."""
  return (1 if kind == "2d" else stride, stride, stride)


_two_steps = functools.partial(SpatiallySeparableConvolution, split="2+1", normalization=BatchNorm, activation="relu")


def unit(kind: str, in_channels: int, channels: int, *, between: int, **options) -> ConvNorm:
  """A convolution of 3 in space, padded so that only its strides change the sizes, normalisation and ReLU.

  Args:
    kind: "3d", 3 x 3 x 3; "2d", 1 x 3 x 3; or "2+1d", 1 x 3 x 3 with normalisation and ReLU, then 3 x 1 x 1.
    in_channels: channels of the input.
    channels: channels of the output.
    between: channels between the two steps of the last kind.
    **options: of `ConvNorm`.
  """
  conv = functools.partial(_two_steps, rank=between) if kind == "2+1d" else Convolution
  return ConvNorm(in_channels, channels, (1 if kind == "2d" else 3, 3, 3), conv=conv, **options)


class Block(nnx.Module):
  """Two convolutions and a shortcut, as ResNet's basic block.

  Args:
    in_channels: channels of the input.
    channels: channels of the output.
    stride: of the first, along height and width and, unless they are 2-D, along time.
    kind: of the convolutions, as `unit` takes it. The two have one number of channels between their steps, that of the
      first, where the paper's formula gives the second of a block that widens another.
    rngs: the source of initial values.
  """

  def __init__(self, in_channels: int, channels: int, stride: int, *, kind: str, rngs: nnx.Rngs):
    conv = functools.partial(unit, kind, between=channels_between(in_channels, channels), rngs=rngs)
    strides = stage_strides(kind, stride)
    self.conv1 = conv(in_channels, channels, strides=strides)
    self.conv2 = conv(channels, channels, activation=None)
    same = in_channels == channels and stride == 1
    one: dict = {"kernel_size": (1, 1, 1), "strides": strides, "activation": None}
    self.projection = None if same else ConvNorm(in_channels, channels, **one, rngs=rngs)

  def __call__(self, x: jax.Array) -> jax.Array:
    """x [batch, frames, height, width, in_channels] -> [batch, *sizes / strides, channels]."""
    y = self.conv2(self.conv1(x))
    return jax.nn.relu(y + (x if self.projection is None else self.projection(x)))


class VideoResNet(Network):
  """conv1 to conv5_x of Table 1, global average pooling and the classifier.

  Features: "conv1" and "conv2" to "conv5", with reductions of 2, 2, 4, 8 and 16 in height and width; along time they
  are 1, 1, 2, 4 and 8 where convolutions are not "2d".

  Args:
    num_classes, in_channels, dtype, rngs: as `create_model`; num_classes=None leaves the classifier out.
    kinds: of the convolutions of conv1 and of conv2_x to conv5_x: "3d", "2d" (not conv1) or "2+1d".
    layers: the number of blocks in conv2_x to conv5_x.
    zero_init_residual: starts each residual branch at zero, by the scale of its last normalisation (Goyal et al. 2017,
      section 5.1).
    remat: recomputes the blocks' inner activations in the backward pass instead of keeping them.
  """

  def __init__(
    self,
    *,
    num_classes: int | None,
    in_channels: int,
    kinds: Sequence[str],
    layers: Sequence[int] = LAYERS,
    zero_init_residual: bool = False,
    remat: bool = False,
    dtype,
    rngs: nnx.Rngs,
  ):
    super().__init__(num_classes, dtype)
    self.remat = remat
    conv = functools.partial(_two_steps, rank=STEM_BETWEEN) if kinds[0] == "2+1d" else Convolution
    self.stem = ConvNorm(in_channels, STEM, (3, 7, 7), strides=(1, 2, 2), conv=conv, rngs=rngs)
    features, self.stages = STEM, nnx.List()
    for kind, count, channels, stride in zip(kinds[1:], layers, CHANNELS, STRIDES, strict=True):
      sizes = [(features, channels, stride), *[(channels, channels, 1)] * (count - 1)]
      self.stages.append(nnx.List([Block(*size, kind=kind, rngs=rngs) for size in sizes]))
      features = channels
    if num_classes is not None:
      self.classifier = Linear(features, num_classes, kernel_init=normal(0.01), rngs=rngs)
    if zero_init_residual:
      for stage in self.stages:
        for block in stage:
          norm = block.conv2.norm
          norm.scale.set_value(jax.device_put(np.zeros(norm.features, np.float32)))

  def features(self, x: jax.Array) -> OrderedDict[str, jax.Array]:
    """x [batch, frames, height, width, in_channels] -> the maps of conv1 and of conv2_x to conv5_x.

    Raises:
      UserError: if x is no batch of clips.
    """
    if x.ndim != 5:
      raise UserError(f"input {x.shape} must be clips [batch, frames, height, width, channels]")
    x = self.stem(x.astype(self.dtype))
    maps = OrderedDict(conv1=x)
    for number, stage in enumerate(self.stages, start=2):
      maps[f"conv{number}"] = x = run_blocks(stage, x, remat=self.remat)
    return maps

  def logits(self, x: jax.Array) -> jax.Array:
    """The last map -> logits [batch, num_classes]."""
    return self.classifier(global_average_pool(x)).astype(jnp.float32)


for _name, _kinds in NETWORKS.items():
  register(_name, VideoResNet, Setting((16, 112, 112, 3), num_classes=400), kinds=_kinds, layers=LAYERS)

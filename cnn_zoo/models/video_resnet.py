"""Residual networks of clips (Tran et al. 2018, A Closer Look at Spatiotemporal Convolutions for Action Recognition):
R3D of 3-D convolutions, MC3 of 3-D and then 2-D ones, and R(2+1)D of 2-D ones each followed by a 1-D one along time.

Where the paper leaves a choice it is torchvision's, whose weights fit.
"""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from cnn_zoo.convolutions import Convolution, SpatiallySeparableConvolution
from cnn_zoo.convolutions.initializers import normal
from cnn_zoo.errors import UserError
from cnn_zoo.layers import BatchNorm, Linear, global_average_pool, run_blocks
from cnn_zoo.models.registry import Setting, register
from cnn_zoo.models.resnet import Projection

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
  """The strides of a block along [frames, height, width]: 2-D convolutions leave time as it is."""
  return (1 if kind == "2d" else stride, stride, stride)


_two_steps = functools.partial(SpatiallySeparableConvolution, split="2+1", normalization=BatchNorm, activation="relu")


def convolution(kind: str, in_channels: int, channels: int, *, between: int, strides=1, rngs: nnx.Rngs) -> nnx.Module:
  """A convolution of 3 in space without bias, padded so that only its strides change the sizes.

  Args:
    kind: "3d", 3 x 3 x 3; "2d", 1 x 3 x 3; or "2+1d", 1 x 3 x 3 with normalisation and ReLU, then 3 x 1 x 1.
    between: channels between the two steps of the last.
  """
  options = {"strides": strides, "use_bias": False, "rngs": rngs}
  if kind == "2+1d":
    return _two_steps(in_channels, channels, (3, 3, 3), rank=between, padding=1, **options)
  depth = 3 if kind == "3d" else 1
  return Convolution(in_channels, channels, (depth, 3, 3), padding=(depth // 2, 1, 1), **options)


class Block(nnx.Module):
  """Two convolutions beside a shortcut, as ResNet's basic block.

  Args:
    kind: of the convolutions, as `convolution` takes it. The two have one number of channels between their steps,
      that of the first, where the paper's formula gives the second of a block that widens another.
    stride: of the first, along height and width and, unless they are 2-D, along time.
  """

  def __init__(self, in_channels: int, channels: int, stride: int, *, kind: str, rngs: nnx.Rngs):
    conv = functools.partial(convolution, kind, between=channels_between(in_channels, channels), rngs=rngs)
    strides = stage_strides(kind, stride)
    self.conv1 = conv(in_channels, channels, strides=strides)
    self.norm1 = BatchNorm(channels)
    self.conv2 = conv(channels, channels)
    self.norm2 = BatchNorm(channels)
    same = in_channels == channels and stride == 1
    self.projection = None if same else Projection(in_channels, channels, strides, rank=3, rngs=rngs)

  def __call__(self, x: jax.Array) -> jax.Array:
    """x [batch, frames, height, width, in_channels] -> [batch, *sizes / strides, channels]."""
    y = jax.nn.relu(self.norm1(self.conv1(x)))
    y = self.norm2(self.conv2(y))
    return jax.nn.relu(y + (x if self.projection is None else self.projection(x)))


class VideoResNet(nnx.Module):
  """conv1 to conv5_x of Table 1, global average pooling and the classifier.

  Args:
    kinds: of the convolutions of conv1 and of conv2_x to conv5_x: "3d", "2d" (not conv1) or "2+1d".
    layers: the number of blocks in conv2_x to conv5_x.
    zero_init_residual: starts each residual branch at zero, by the scale of its last normalisation (Goyal et al. 2017,
      section 5.1).
    remat: computes the insides of the blocks anew in the backward pass in place of keeping them.
  """

  def __init__(
    self,
    kinds: Sequence[str],
    *,
    num_classes: int,
    in_channels: int,
    layers: Sequence[int] = LAYERS,
    zero_init_residual: bool = False,
    remat: bool = False,
    dtype,
    rngs: nnx.Rngs,
  ):
    self.dtype, self.remat = dtype, remat
    stem = {"strides": (1, 2, 2), "padding": (1, 3, 3), "use_bias": False, "rngs": rngs}
    if kinds[0] == "2+1d":
      self.stem = _two_steps(in_channels, STEM, (3, 7, 7), rank=STEM_BETWEEN, **stem)
    else:
      self.stem = Convolution(in_channels, STEM, (3, 7, 7), **stem)
    self.stem_norm = BatchNorm(STEM)
    features, self.stages = STEM, nnx.List()
    for kind, count, channels, stride in zip(kinds[1:], layers, CHANNELS, STRIDES, strict=True):
      sizes = [(features, channels, stride), *[(channels, channels, 1)] * (count - 1)]
      self.stages.append(nnx.List([Block(*size, kind=kind, rngs=rngs) for size in sizes]))
      features = channels
    self.classifier = Linear(features, num_classes, kernel_init=normal(0.01), rngs=rngs)
    if zero_init_residual:
      for stage in self.stages:
        for block in stage:
          block.norm2.scale.set_value(jax.device_put(np.zeros(block.norm2.features, np.float32)))

  def __call__(self, x: jax.Array) -> jax.Array:
    """x [batch, frames, height, width, in_channels] -> logits [batch, num_classes].

    Raises:
      UserError: if x is no batch of clips.
    """
    if x.ndim != 5:
      raise UserError(f"input {x.shape} must be clips [batch, frames, height, width, channels]")
    x = jax.nn.relu(self.stem_norm(self.stem(x.astype(self.dtype))))
    for stage in self.stages:
      x = run_blocks(stage, x, remat=self.remat)
    return self.classifier(global_average_pool(x)).astype(jnp.float32)


def _register(name, kinds):
  def build(*, num_classes, in_channels, zero_init_residual: bool = False, remat: bool = False, dtype, rngs):
    return VideoResNet(
      kinds,
      num_classes=num_classes,
      in_channels=in_channels,
      zero_init_residual=zero_init_residual,
      remat=remat,
      dtype=dtype,
      rngs=rngs,
    )

  register(name, build, Setting((16, 112, 112, 3), num_classes=400))


for _name, _kinds in NETWORKS.items():
  _register(_name, _kinds)

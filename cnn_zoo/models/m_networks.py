"""The M networks, over waveforms (Dai et al. 2016, Very Deep Convolutional Neural Networks for Raw Waveforms)."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from cnn_zoo.convolutions import Convolution
from cnn_zoo.convolutions.initializers import glorot_uniform
from cnn_zoo.layers import BatchNorm, Linear, global_average_pool, max_pool, run_blocks
from cnn_zoo.models.registry import Setting, register


class Column(NamedTuple):
  """A column of Table 1."""

  stem: int  # channels of the first convolution
  stages: tuple[tuple[int, int], ...]  # channels, and how many layers or residual blocks
  residual: bool = False


# Parameters as the table counts them: 0.2M, 0.5M, 1.8M, 3.7M and 4M. All but M5's are rounded: it has 558,090.
TABLE_1 = {
  "m3": Column(256, ((256, 1),)),
  "m5": Column(128, ((128, 1), (256, 1), (512, 1))),
  "m11": Column(64, ((64, 2), (128, 2), (256, 3), (512, 2))),
  "m18": Column(64, ((64, 4), (128, 4), (256, 4), (512, 4))),
  "m34_res": Column(48, ((48, 3), (96, 4), (192, 6), (384, 3)), residual=True),
}
STEM_TAPS, STEM_STRIDE = 80, 4  # 10 ms at 8 kHz, to work as a bank of bandpass filters (section 2)
TAPS = 3  # of all other convolutions
POOL = 4  # window and stride of max-pooling, which is behind the first convolution and behind a stage
POOLED_STAGES = 3  # a fourth stage goes to the global average as it is


def convolution(in_channels: int, channels: int, taps: int, *, stride: int = 1, rngs: nnx.Rngs) -> Convolution:
  """A convolution without bias, which the normalisation behind it has.

  With the padding of TensorFlow, in which the paper's networks were written, 32,000 samples become the table's 8000
  places, and pooling leaves 2000, 500, 125 and 32 of them.
  """
  options = {"strides": stride, "padding": "SAME", "use_bias": False, "kernel_init": glorot_uniform, "rngs": rngs}
  return Convolution(in_channels, channels, (taps,), **options)


class Layer(nnx.Module):
  """A convolution, normalisation and ReLU."""

  def __init__(self, in_channels: int, channels: int, *, taps: int = TAPS, stride: int = 1, rngs: nnx.Rngs):
    self.convolution = convolution(in_channels, channels, taps, stride=stride, rngs=rngs)
    self.norm = BatchNorm(channels)

  def __call__(self, x: jax.Array) -> jax.Array:
    """x [batch, samples, in_channels] -> [batch, samples / stride, channels]."""
    return jax.nn.relu(self.norm(self.convolution(x)))


class ResidualBlock(nnx.Module):
  """Figure 1b: two convolutions beside a shortcut, and one more normalisation behind the sum.

  The figure's shortcut has no layer and the paper does not say how 48 channels are added to 96. Here the missing ones
  are zeros (He et al. 2015, option A): projections would make it 4.1M parameters where Table 1 has 4M.
  """

  def __init__(self, in_channels: int, channels: int, *, rngs: nnx.Rngs):
    self.missing = channels - in_channels
    self.conv1, self.norm1 = convolution(in_channels, channels, TAPS, rngs=rngs), BatchNorm(channels)
    self.conv2, self.norm2 = convolution(channels, channels, TAPS, rngs=rngs), BatchNorm(channels)
    self.sum_norm = BatchNorm(channels)

  def __call__(self, x: jax.Array) -> jax.Array:
    """x [batch, samples, in_channels] -> [batch, samples, channels]."""
    y = jax.nn.relu(self.norm1(self.conv1(x)))
    y = self.norm2(self.conv2(y))
    shortcut = jnp.pad(x, ((0, 0), (0, 0), (0, self.missing)))
    return jax.nn.relu(self.sum_norm(shortcut + y))


class MNetwork(nnx.Module):
  """A column of Table 1: one long convolution, stages with max-pooling between them, global average pooling, softmax.

  Args:
    remat: computes the layers' activations again in the backward pass in place of keeping them.
  """

  def __init__(self, column: Column, *, num_classes: int, in_channels: int, remat: bool = False, dtype, rngs: nnx.Rngs):
    self.remat, self.dtype = remat, dtype
    self.stem = Layer(in_channels, column.stem, taps=STEM_TAPS, stride=STEM_STRIDE, rngs=rngs)
    block = ResidualBlock if column.residual else Layer
    self.stages, features = nnx.List(), column.stem
    for channels, count in column.stages:
      inputs = (features, *[channels] * (count - 1))
      self.stages.append(nnx.List([block(wide, channels, rngs=rngs) for wide in inputs]))
      features = channels
    self.classifier = Linear(features, num_classes, kernel_init=glorot_uniform, rngs=rngs)

  def __call__(self, x: jax.Array) -> jax.Array:
    """x [batch, samples, in_channels], of any length -> logits [batch, num_classes]."""
    x = _pooled(run_blocks([self.stem], x.astype(self.dtype), remat=self.remat))
    for index, stage in enumerate(self.stages):
      x = run_blocks(stage, x, remat=self.remat)
      x = _pooled(x) if index < POOLED_STAGES else x
    return self.classifier(global_average_pool(x)).astype(jnp.float32)


def _pooled(x):
  return max_pool(x, (POOL,), POOL, "SAME")


def _build(name, *, num_classes, in_channels, remat: bool = False, dtype, rngs):
  column = TABLE_1[name]
  return MNetwork(column, num_classes=num_classes, in_channels=in_channels, remat=remat, dtype=dtype, rngs=rngs)


for _name in TABLE_1:
  register(_name, functools.partial(_build, _name), Setting((32_000, 1), num_classes=10))

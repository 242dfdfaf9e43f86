"""The M networks, over waveforms (Dai et al. 2016, Very Deep Convolutional Neural Networks for Raw Waveforms)."""

import functools
from collections import OrderedDict
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from cnn_zoo.convolutions.initializers import glorot_uniform
from cnn_zoo.layers import BatchNorm, ConvNorm, Linear, global_average_pool, max_pool, run_blocks
from cnn_zoo.models.network import Network
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
POOL = 4  # window and stride of max-pooling, after the first convolution and after each stage
POOLED_STAGES = 3  # a fourth stage goes to the global average without pooling


# A convolution without bias, normalisation and ReLU. With the padding of TensorFlow, in which the paper's networks were
# written, 32,000 samples become the table's 8000 places, and pooling leaves 2000, 500, 125 and 32 of them.
unit = functools.partial(ConvNorm, padding="SAME", kernel_init=glorot_uniform)


class ResidualBlock(nnx.Module):
  """Figure 1b: two convolutions, a shortcut, and one more normalisation after the sum.

  The figure's shortcut has no layer and the paper does not say how 48 channels are added to 96. Here the missing ones
  are zeros (He et al. 2015, option A): projections would make it 4.1M parameters where Table 1 has 4M.
  """

  def __init__(self, in_channels: int, channels: int, *, rngs: nnx.Rngs):
    self.missing = channels - in_channels
    self.conv1 = unit(in_channels, channels, (TAPS,), rngs=rngs)
    self.conv2 = unit(channels, channels, (TAPS,), activation=None, rngs=rngs)
    self.sum_norm = BatchNorm(channels)

  def __call__(self, x: jax.Array) -> jax.Array:
    """x [batch, samples, in_channels] -> [batch, samples, channels]."""
    y = self.conv2(self.conv1(x))
    shortcut = jnp.pad(x, ((0, 0), (0, 0), (0, self.missing)))
    return jax.nn.relu(self.sum_norm(shortcut + y))


class MNetwork(Network):
  """A column of Table 1: one long convolution, stages with max-pooling between them, global average pooling, softmax.

  Features: "stem" and "stage1" to "stage4" (fewer in small networks), pooled; their reductions are 16, 64, 256, 1024
  and 1024.

  Args:
    num_classes, in_channels, dtype, rngs: as `create_model`; num_classes=None leaves the classifier out.
    column: of Table 1.
    remat: recomputes the layers' inner activations in the backward pass instead of keeping them.
  """

  def __init__(
    self,
    *,
    num_classes: int | None,
    in_channels: int,
    column: Column,
    remat: bool = False,
    dtype,
    rngs: nnx.Rngs,
  ):
    super().__init__(num_classes, dtype)
    self.remat = remat
    self.stem = unit(in_channels, column.stem, (STEM_TAPS,), strides=STEM_STRIDE, rngs=rngs)
    block = ResidualBlock if column.residual else functools.partial(unit, kernel_size=(TAPS,))
    self.stages, features = nnx.List(), column.stem
    for channels, count in column.stages:
      inputs = (features, *[channels] * (count - 1))
      self.stages.append(nnx.List([block(wide, channels, rngs=rngs) for wide in inputs]))
      features = channels
    if num_classes is not None:
      self.classifier = Linear(features, num_classes, kernel_init=glorot_uniform, rngs=rngs)

  def features(self, x: jax.Array) -> OrderedDict[str, jax.Array]:
    """x [batch, samples, in_channels], of any length -> the maps of the stem and of the stages."""
    x = _pooled(run_blocks([self.stem], x.astype(self.dtype), remat=self.remat))
    maps = OrderedDict(stem=x)
    for number, stage in enumerate(self.stages, start=1):
      x = run_blocks(stage, x, remat=self.remat)
      maps[f"stage{number}"] = x = _pooled(x) if number <= POOLED_STAGES else x
    return maps

  def logits(self, x: jax.Array) -> jax.Array:
    """The last map -> logits [batch, num_classes]."""
    return self.classifier(global_average_pool(x)).astype(jnp.float32)


def _pooled(x):
  return max_pool(x, (POOL,), POOL, "SAME")


for _name, _column in TABLE_1.items():
  register(_name, MNetwork, Setting((32_000, 1), num_classes=10), column=_column)

"""U-Net (Ronneberger, Fischer and Brox 2015, Convolutional Networks for Biomedical Image Segmentation)."""

import functools
from collections import OrderedDict

import jax
import jax.numpy as jnp
from flax import nnx

from cnn_zoo.convolutions import Convolution, TransposedConvolution
from cnn_zoo.convolutions.initializers import he_normal_fan_in
from cnn_zoo.errors import UserError, check_name
from cnn_zoo.layers import BatchNorm, ConvNorm, Dropout, ResizeConvolution, max_pool, run_blocks
from cnn_zoo.layers.upsampling import UPSAMPLING, crop, pad_to_multiple
from cnn_zoo.models.network import Network, last
from cnn_zoo.models.registry import Setting, register


class Pair(nnx.Module):
  """Two 3 x 3 convolutions that keep the size, each with ReLU."""

  def __init__(self, in_channels, channels, *, dilation=1, batch_norm, rank, rngs):
    unit: dict = {"kernel_size": (3,) * rank, "dilation": dilation, "norm": BatchNorm if batch_norm else None}
    self.conv1 = ConvNorm(in_channels, channels, **unit, kernel_init=he_normal_fan_in, rngs=rngs)
    self.conv2 = ConvNorm(channels, channels, **unit, kernel_init=he_normal_fan_in, rngs=rngs)

  def __call__(self, x):
    """x [batch, *spatial, in_channels] -> [batch, *spatial, channels]."""
    return self.conv2(self.conv1(x))


class UNet(Network):
  """Figure 1: a path that halves the map and doubles the channels, and one back, which sees the maps of the first too.

  The paper's convolutions have no padding, so that its output is smaller than its input and its skips are cropped.
  Here they keep the size, and the output has the input's: an input whose sizes 2^depth does not divide gets zeros at
  its ends, and the logits there are cut off.

  Features: "down1" to "down4" at the size of the input to an eighth of it, "lowest" at a 16th, and "up4" to "up1" back
  to the size of the input; all with the zeros at the ends.

  Args:
    num_classes, in_channels, dtype, rngs: as `create_model`; num_classes=None leaves the classifier out.
    rank: number of spatial axes.
    features: channels of the first level; every level further down has twice as many.
    depth: how many times the map is halved.
    batch_norm: normalises after every 3 x 3 convolution, which then has no bias; the paper does not.
    dropout_rate: of the lowest level's output, where the paper drops out too, without reporting the rate.
    upsampling: "transposed", convolutions of 2 x 2 with stride 2 as in the paper, or "nearest" or "bilinear", 3 x 3
      convolutions of maps that are enlarged in this way.
    dilation: of both convolutions of the lowest level, so that it sees more at the same number of parameters.
    remat: recomputes the levels' inner activations in the backward pass instead of keeping them.
  """

  def __init__(
    self,
    *,
    num_classes: int | None,
    in_channels: int,
    rank: int = 2,
    features: int = 64,
    depth: int = 4,
    batch_norm: bool = True,
    dropout_rate: float = 0.0,
    upsampling: str = "transposed",
    dilation: int = 1,
    remat: bool = False,
    dtype,
    rngs: nnx.Rngs,
  ):
    check_name("upsampling", upsampling, UPSAMPLING)
    if depth < 1:
      raise UserError(f"depth={depth} must be at least 1")
    super().__init__(num_classes, dtype)
    self.depth, self.remat = depth, remat
    pair = functools.partial(Pair, batch_norm=batch_norm, rank=rank, rngs=rngs)
    if upsampling == "transposed":
      enlarge = functools.partial(TransposedConvolution, kernel_size=(2,) * rank, strides=2)
    else:
      enlarge = functools.partial(ResizeConvolution, kernel_size=(3,) * rank, method=upsampling)
    *levels, lowest = (features * 2**level for level in range(depth + 1))
    inputs = zip((in_channels, *levels), levels, strict=False)
    self.contracting = nnx.List([pair(*channels) for channels in inputs])
    self.lowest = pair(levels[-1], lowest, dilation=dilation)
    self.dropout = Dropout(dropout_rate, rngs=rngs)
    conv: dict = {"kernel_init": he_normal_fan_in, "rngs": rngs}
    self.enlargements = nnx.List([enlarge(2 * channels, channels, **conv) for channels in levels[::-1]])
    self.expanding = nnx.List([pair(2 * channels, channels) for channels in levels[::-1]])
    if num_classes is not None:
      self.classifier = Convolution(features, num_classes, (1,) * rank, **conv)

  def features(self, x: jax.Array) -> OrderedDict[str, jax.Array]:
    """x [batch, *spatial, in_channels] -> the maps of the levels on the way down and back."""
    x, maps = pad_to_multiple(x.astype(self.dtype), 2**self.depth), OrderedDict()
    for number, level in enumerate(self.contracting, start=1):
      maps[f"down{number}"] = x = run_blocks([level], x, remat=self.remat)
      x = max_pool(x, (2,) * (x.ndim - 2), 2)
    maps["lowest"] = x = self.dropout(run_blocks([self.lowest], x, remat=self.remat))
    for number, enlarge, level in zip(range(self.depth, 0, -1), self.enlargements, self.expanding, strict=True):
      both = jnp.concatenate([maps[f"down{number}"], enlarge(x)], -1)
      maps[f"up{number}"] = x = run_blocks([level], both, remat=self.remat)
    return maps

  def logits(self, x: jax.Array) -> jax.Array:
    """The last map -> logits [batch, *spatial, num_classes], those of the zeros at the ends too."""
    return self.classifier(x).astype(jnp.float32)

  def __call__(self, x: jax.Array) -> jax.Array | OrderedDict[str, jax.Array]:
    """x [batch, *spatial, in_channels] -> logits [batch, *spatial, num_classes], or the features."""
    maps = self.features(x)
    return maps if self.num_classes is None else crop(self.logits(last(maps)), x.shape[1:-1])


register("unet", UNet, Setting((572, 572, 1), 2))

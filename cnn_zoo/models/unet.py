"""U-Net (Ronneberger, Fischer and Brox 2015, Convolutional Networks for Biomedical Image Segmentation)."""

import functools

import jax
import jax.numpy as jnp
from flax import nnx

from cnn_zoo.convolutions import Convolution, TransposedConvolution
from cnn_zoo.convolutions.initializers import he_normal_fan_in
from cnn_zoo.errors import UserError, check_name
from cnn_zoo.layers import BatchNorm, Dropout, ResizeConvolution, max_pool, run_blocks
from cnn_zoo.layers.upsampling import UPSAMPLING, crop, pad_to_multiple
from cnn_zoo.models.registry import Setting, register


class Pair(nnx.Module):
  """Two 3 x 3 convolutions that keep the size, each with ReLU."""

  def __init__(self, in_channels, channels, *, dilation=1, batch_norm, rank, rngs):
    space = {"padding": dilation, "dilation": dilation}
    conv = functools.partial(
      Convolution, kernel_size=(3,) * rank, **space, use_bias=not batch_norm, kernel_init=he_normal_fan_in, rngs=rngs
    )
    self.conv1, self.conv2 = conv(in_channels, channels), conv(channels, channels)
    self.norm1, self.norm2 = (BatchNorm(channels) if batch_norm else None for _ in range(2))

  def __call__(self, x):
    """x [batch, *spatial, in_channels] -> [batch, *spatial, channels]."""
    for conv, norm in ((self.conv1, self.norm1), (self.conv2, self.norm2)):
      x = conv(x)
      x = jax.nn.relu(x if norm is None else norm(x))
    return x


class UNet(nnx.Module):
  """Figure 1: a path that halves the map and doubles the channels, and one back, which sees the maps of the first too.

  The paper's convolutions have no padding, so that its output is smaller than its input and its skips are cropped.
  Here they keep the size, and the output has the input's: an input whose sizes 2^depth does not divide gets zeros at
  its ends, and the logits there are cut off.

  Args:
    rank: number of spatial axes.
    features: channels of the first level; every level further down has twice as many.
    depth: how many times the map is halved.
    batch_norm: normalises behind every 3 x 3 convolution, which then has no bias; the paper does not.
    dropout_rate: of the lowest level's output, where the paper drops out too, without telling the rate.
    upsampling: "transposed", convolutions of 2 x 2 with stride 2 as in the paper, or "nearest" or "bilinear", 3 x 3
      convolutions of maps that are enlarged so.
    dilation: of both convolutions of the lowest level, so that it sees more at the same number of parameters.
    remat: computes the levels' activations again in the backward pass in place of keeping them.
  """

  def __init__(
    self,
    *,
    num_classes: int,
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
    self.depth, self.remat, self.dtype = depth, remat, dtype
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
    conv = {"kernel_init": he_normal_fan_in, "rngs": rngs}
    self.enlargements = nnx.List([enlarge(2 * channels, channels, **conv) for channels in levels[::-1]])
    self.expanding = nnx.List([pair(2 * channels, channels) for channels in levels[::-1]])
    self.classifier = Convolution(features, num_classes, (1,) * rank, **conv)

  def __call__(self, x: jax.Array) -> jax.Array:
    """x [batch, *spatial, in_channels] -> logits [batch, *spatial, num_classes]."""
    sizes, skips = x.shape[1:-1], []
    x = pad_to_multiple(x.astype(self.dtype), 2**self.depth)
    for level in self.contracting:
      skips.append(run_blocks([level], x, remat=self.remat))
      x = max_pool(skips[-1], (2,) * len(sizes), 2)
    x = self.dropout(run_blocks([self.lowest], x, remat=self.remat))
    for enlarge, level, skip in zip(self.enlargements, self.expanding, reversed(skips), strict=True):
      x = run_blocks([level], jnp.concatenate([skip, enlarge(x)], -1), remat=self.remat)
    return crop(self.classifier(x).astype(jnp.float32), sizes)


register("unet", UNet, Setting((572, 572, 1), 2))

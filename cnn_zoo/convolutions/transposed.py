"""The transposed convolution: the gradient of a convolution by its input, used as a layer that enlarges."""

import math
from collections.abc import Sequence

import jax
from flax import nnx

from cnn_zoo.convolutions import initializers
from cnn_zoo.convolutions.arithmetic import Padding, per_axis, transposed_crops, transposed_output_sizes
from cnn_zoo.convolutions.convolution import check_groups, check_input, check_kernel_size
from cnn_zoo.convolutions.initializers import Initializer
from cnn_zoo.convolutions.lowerings.rules import convolve_transposed
from cnn_zoo.convolutions.lowerings.windows import Geometry
from cnn_zoo.errors import InputTooSmallError, UserError


class TransposedConvolution(nnx.Module):
  """Every input element adds a copy of the kernel, scaled by it, to the output, `strides` apart; overlaps are summed.

  [batch, *spatial, in_features] -> [batch, *output sizes, out_features]. An axis of n elements becomes stride (n - 1)
  + dilation (kernel - 1) + 1 - 2 padding + output_padding long (Dumoulin and Visin, A guide to convolution arithmetic,
  2016, relationship 14). "SAME" makes it stride * n long. Values equal those of PyTorch's ConvTranspose.

  Args:
    in_features: channels of the input.
    out_features: channels of the output.
    kernel_size: one size for each spatial axis; its length is the rank.
    strides: how far apart the copies of the kernel are, for all axes or for each.
    padding: "SAME", "VALID" (nothing is cut off) or numbers: how much is cut off each end.
    output_padding: how much longer the output is at its end, for all axes or for each; needs padding in numbers. It
      tells apart the input sizes that a convolution maps to one output size.
    dilation: how far apart the taps are, for all axes or for each.
    groups: how many groups the channels are divided into; an output channel sees the inputs of its group.
    use_bias: whether a learned bias is added to each output channel.
    kernel_init: initial values of the kernel.
    bias_init: initial values of the bias.
    rngs: the source of initial values.

  Attributes:
    kernel: [*kernel_size, in_features / groups, out_features], not flipped.
    bias: [out_features], or None.

  Raises:
    UserError: as `Convolution`, and for an output padding below 0, or not below the larger of the stride and the
      dilation.

  >>> import jax.numpy as jnp
  >>> layer = TransposedConvolution(8, 3, (4, 4), strides=2, rngs=nnx.Rngs(0))
  >>> layer(jnp.ones((1, 5, 5, 8))).shape
  (1, 10, 10, 3)
  """

  def __init__(
    self,
    in_features: int,
    out_features: int,
    kernel_size: Sequence[int],
    *,
    strides: int | Sequence[int] = 1,
    padding: Padding = "SAME",
    output_padding: int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    use_bias: bool = True,
    kernel_init: Initializer = initializers.he_normal_fan_out,
    bias_init: Initializer = initializers.zeros,
    rngs: nnx.Rngs,
  ):
    self.kernel_size = check_kernel_size(kernel_size)
    rank = len(self.kernel_size)
    self.strides = per_axis("strides", strides, rank)
    self.dilation = per_axis("dilation", dilation, rank)
    extra = (output_padding,) * rank if isinstance(output_padding, int) else tuple(output_padding)
    limits = tuple(map(max, self.strides, self.dilation))
    if len(extra) != rank or any(not 0 <= e < limit for e, limit in zip(extra, limits, strict=True)):
      raise UserError(
        f"output_padding={output_padding} must have one number for each of {rank} spatial axes, at least 0 and below "
        f"the larger of strides={self.strides} and dilation={self.dilation}"
      )
    self.crops = transposed_crops(padding, self.kernel_size, self.strides, self.dilation, extra)
    self.in_features, self.out_features, self.groups, self.use_bias = in_features, out_features, groups, use_bias
    check_groups(groups, in_features, out_features)
    area = math.prod(self.kernel_size) / math.prod(self.strides)  # taps that meet in one output
    fans = area * in_features / groups, area * out_features / groups
    shape = (*self.kernel_size, in_features // groups, out_features)
    self.kernel = nnx.Param(initializers.draw(rngs.params(), kernel_init, shape, *fans))
    self.bias = nnx.Param(initializers.draw(rngs.params(), bias_init, (out_features,), *fans)) if use_bias else None

  def __call__(self, x: jax.Array) -> jax.Array:
    """The transposed convolution of x [batch, *spatial, in_features]."""
    self.output_shape(x.shape)
    geometry = Geometry(self.strides, self.crops, self.dilation, self.groups)
    y = convolve_transposed(x, self.kernel[...].astype(x.dtype), geometry)
    return y if self.bias is None else y + self.bias[...].astype(y.dtype)

  def output_shape(self, input_shape: Sequence[int]) -> tuple[int, ...]:
    """The shape of the output for an input of shape [batch, *spatial, in_features]."""
    check_input(input_shape, self.kernel_size, self.in_features)
    sizes = transposed_output_sizes(input_shape[1:-1], self.kernel_size, self.strides, self.crops, self.dilation)
    if min(sizes) < 1:
      raise InputTooSmallError(f"input {tuple(input_shape)} is too small: padding cuts off all of the output")
    return (input_shape[0], *sizes, self.out_features)

  def parameters(self) -> int:
    """How many numbers are learned: one for each tap, input channel of a group and output channel, and the biases."""
    weights = math.prod(self.kernel_size) * self.in_features // self.groups * self.out_features
    return weights + self.out_features * self.use_bias

  def multiply_adds(self, input_shape: Sequence[int]) -> int:
    """Multiply-adds for one batch: one per input element, tap and output channel of its group, cut off or not."""
    self.output_shape(input_shape)
    return math.prod(input_shape) * math.prod(self.kernel_size) * self.out_features // self.groups

  def receptive_field(self) -> tuple[int, ...]:
    """The most inputs between the first and the last that reach one output, per axis, both counted."""
    # Two taps meet in one output if they are a multiple of this many taps apart.
    apart = [s // math.gcd(s, d) for s, d in zip(self.strides, self.dilation, strict=True)]
    axes = zip(self.kernel_size, self.dilation, self.strides, apart, strict=True)
    return tuple((k - 1) // a * a * d // s + 1 for k, d, s, a in axes)

"""The convolution module: one class for every rank, stride, padding, dilation and grouping."""

import math
from collections.abc import Sequence

import jax
from flax import nnx

from cnn_zoo.convolutions import initializers
from cnn_zoo.convolutions.arithmetic import Padding, output_sizes, padding_pairs, per_axis, resolve_padding
from cnn_zoo.convolutions.initializers import Initializer
from cnn_zoo.convolutions.lowerings.rules import convolve
from cnn_zoo.convolutions.lowerings.windows import Geometry
from cnn_zoo.errors import InputTooSmallError, UserError


class Convolution(nnx.Module):
  """A convolution over channels-last batches: [batch, *spatial, in_features] -> [batch, *output sizes, out_features].

  The rank is the length of `kernel_size`. It computes in the dtype of its input; parameters are float32. The kernel is
  not flipped.

  Args:
    in_features: channels of the input.
    out_features: channels of the output.
    kernel_size: one size for each spatial axis; its length is the rank.
    strides: how far apart the windows of neighbouring outputs are, for all axes or for each.
    padding: "SAME", "VALID", "CAUSAL" (rank 1) or numbers; see `arithmetic.resolve_padding`.
    dilation: how far apart the taps are, for all axes or for each.
    groups: how many groups the channels are divided into; an output channel sees the inputs of its group.
    use_bias: whether a learned bias is added to each output channel.
    kernel_init: initial values of the kernel.
    bias_init: initial values of the bias.
    rngs: the source of initial values.

  Attributes:
    kernel: [*kernel_size, in_features / groups, out_features].
    bias: [out_features], or None.

  Raises:
    UserError: for a kernel size without axes, features, a stride or a dilation below 1, groups that do not divide the
      features, padding that is not known or does not fit the rank, and an input of another rank, of another number of
      channels or smaller than the kernel.

  >>> import jax.numpy as jnp
  >>> layer = Convolution(3, 8, (3, 3), strides=2, rngs=nnx.Rngs(0))
  >>> layer(jnp.ones((1, 8, 8, 3))).shape
  (1, 4, 4, 8)
  >>> layer.parameters(), layer.multiply_adds((1, 8, 8, 3))
  (224, 3456)
  """

  def __init__(
    self,
    in_features: int,
    out_features: int,
    kernel_size: Sequence[int],
    *,
    strides: int | Sequence[int] = 1,
    padding: Padding = "SAME",
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
    self.padding = padding
    self.in_features, self.out_features, self.groups = in_features, out_features, groups
    self.use_bias, self.kernel_init, self.bias_init = use_bias, kernel_init, bias_init
    check_groups(groups, in_features, out_features)
    if isinstance(padding, str):
      resolve_padding(padding, self.kernel_size, self.kernel_size, self.strides, self.dilation)  # is it known?
    else:
      padding_pairs(padding, rank)
    area = math.prod(self.kernel_size)
    fans = area * in_features / groups, area * out_features / groups
    shape = (*self.kernel_size, in_features // groups, out_features)
    self.kernel = nnx.Param(initializers.draw(rngs.params(), kernel_init, shape, *fans))
    self.bias = nnx.Param(initializers.draw(rngs.params(), bias_init, (out_features,), *fans)) if use_bias else None

  def __call__(self, x: jax.Array) -> jax.Array:
    """The convolution of x [batch, *spatial, in_features]."""
    padding, _ = self._geometry(x.shape)
    geometry = Geometry(self.strides, padding, self.dilation, self.groups)
    y = convolve(x, self.kernel[...].astype(x.dtype), geometry)
    return y if self.bias is None else y + self.bias[...].astype(y.dtype)

  def output_shape(self, input_shape: Sequence[int]) -> tuple[int, ...]:
    """The shape of the output for an input of shape [batch, *spatial, in_features]."""
    return (input_shape[0], *self._geometry(input_shape)[1], self.out_features)

  def multiply_adds(self, input_shape: Sequence[int]) -> int:
    """Multiply-adds for one batch of `input_shape`: one per output element, tap and input channel of its group."""
    return math.prod(self.output_shape(input_shape)) * math.prod(self.kernel_size) * self.in_features // self.groups

  def parameters(self) -> int:
    """How many numbers are learned: one for each tap, input channel of a group and output channel, and the biases."""
    weights = math.prod(self.kernel_size) * self.in_features // self.groups * self.out_features
    return weights + self.out_features * self.use_bias

  def receptive_field(self) -> tuple[int, ...]:
    """How far apart the first and the last input that reach one output are, per axis, both counted."""
    return tuple(d * (k - 1) + 1 for k, d in zip(self.kernel_size, self.dilation, strict=True))

  def _geometry(self, input_shape):
    """The padding of each axis and the output's spatial sizes."""
    check_input(input_shape, self.kernel_size, self.in_features)
    sizes = input_shape[1:-1]
    padding = resolve_padding(self.padding, sizes, self.kernel_size, self.strides, self.dilation)
    out = output_sizes(sizes, self.kernel_size, self.strides, padding, self.dilation)
    if min(out) < 1:
      raise InputTooSmallError(
        f"input {tuple(input_shape)} is too small for kernel_size={self.kernel_size}, dilation={self.dilation}, "
        f"padding={self.padding}"
      )
    return padding, out


def check_kernel_size(kernel_size: Sequence[int]) -> tuple[int, ...]:
  """The kernel size as a tuple; raises UserError unless it is one size of at least 1 for each spatial axis."""
  if isinstance(kernel_size, int) or not len(kernel_size):
    raise UserError(f"kernel_size={kernel_size} must have one size for each spatial axis, such as (3, 3)")
  return per_axis("kernel_size", kernel_size, len(kernel_size))


def check_groups(groups: int, in_features: int, out_features: int) -> None:
  """Raises UserError unless there are features and `groups` divides both numbers of them."""
  if min(in_features, out_features) < 1:
    raise UserError(f"in_features={in_features} and out_features={out_features} must be at least 1")
  if groups < 1 or in_features % groups or out_features % groups:
    raise UserError(f"groups={groups} must divide in_features={in_features} and out_features={out_features}")


def check_input(input_shape: Sequence[int], kernel_size: tuple[int, ...], in_features: int) -> None:
  """Raises UserError unless `input_shape` is [batch, one size for each axis of the kernel, in_features]."""
  rank = len(kernel_size)
  if len(input_shape) != rank + 2 or input_shape[-1] != in_features:
    raise UserError(
      f"input {tuple(input_shape)} does not fit kernel_size={kernel_size}, in_features={in_features}: "
      f"expected [batch, {rank} spatial axes, {in_features}]"
    )

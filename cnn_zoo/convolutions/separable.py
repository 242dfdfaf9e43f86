"""Convolutions that do in two or three cheap steps what a standard one does in a costly one."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from flax import nnx

from cnn_zoo.convolutions import initializers
from cnn_zoo.convolutions.arithmetic import Padding, padding_pairs, per_axis
from cnn_zoo.convolutions.convolution import Convolution, check_kernel_size
from cnn_zoo.convolutions.initializers import Initializer
from cnn_zoo.errors import UserError, check_name

Normalization = Callable[[int], nnx.Module]
"""features -> a module over [batch, *spatial, features], such as `cnn_zoo.layers.BatchNorm`."""


class Steps(nnx.Module):
  """Convolutions one after another, as one layer with the shapes, costs and receptive field of all of them.

  Attributes:
    convolutions: in the order in which they run.
    norms: one for each convolution, or None where there is none.
    activations: likewise.
  """

  def __init__(self, convolutions, norms, activations):
    self.convolutions = nnx.List(convolutions)
    self.norms = nnx.List(norms)
    self.activations = tuple(activations)

  def __call__(self, x: jax.Array) -> jax.Array:
    """x [batch, *spatial, in_features] through all steps."""
    for convolution, norm, activation in zip(self.convolutions, self.norms, self.activations, strict=True):
      x = convolution(x)
      x = x if norm is None else norm(x)
      x = x if activation is None else activation(x)
    return x

  def output_shape(self, input_shape: Sequence[int]) -> tuple[int, ...]:
    """The shape of the output for an input of shape [batch, *spatial, in_features]."""
    shape = tuple(input_shape)
    for convolution in self.convolutions:
      shape = convolution.output_shape(shape)
    return shape

  def parameters(self) -> int:
    """How many numbers the convolutions learn; normalisations count for themselves."""
    return sum(convolution.parameters() for convolution in self.convolutions)

  def multiply_adds(self, input_shape: Sequence[int]) -> int:
    """Multiply-adds of the convolutions for one batch of `input_shape`."""
    total, shape = 0, input_shape
    for convolution in self.convolutions:
      total, shape = total + convolution.multiply_adds(shape), convolution.output_shape(shape)
    return total

  def receptive_field(self) -> tuple[int, ...]:
    """How far apart the first and the last input that reach one output are, per axis, both counted."""
    field, jump = (1,) * len(self.convolutions[0].kernel_size), (1,) * len(self.convolutions[0].kernel_size)
    for convolution in self.convolutions:
      field = tuple(f + (r - 1) * j for f, r, j in zip(field, convolution.receptive_field(), jump, strict=True))
      jump = tuple(j * s for j, s in zip(jump, convolution.strides, strict=True))
    return field


class DepthwiseSeparableConvolution(Steps):
  """A depthwise convolution, then a pointwise one: space first, then channels (Sifre 2014; Chollet 2017, Xception).

  A kernel of k taps costs multiplier * (k + out_features) multiply-adds for each output position and input channel
  where a standard convolution costs k * out_features.

  Args:
    multiplier: outputs of the depthwise step for each input channel.
    normalization: made for and put after the depthwise step; None for none.
    activation: between the two steps, after the normalisation; a function, its name in jax.nn, or None.
    in_features, out_features, kernel_size, strides, padding, dilation, use_bias, kernel_init, bias_init, rngs: as in
      `Convolution`. The bias belongs to the pointwise step.

  Raises:
    UserError: as `Convolution`, and for a multiplier below 1.

  >>> layer = DepthwiseSeparableConvolution(32, 64, (3, 3), use_bias=False, rngs=nnx.Rngs(0))
  >>> layer.parameters(), 32 * 9 + 32 * 64
  (2336, 2336)
  """

  def __init__(
    self,
    in_features: int,
    out_features: int,
    kernel_size: Sequence[int],
    *,
    multiplier: int = 1,
    strides: int | Sequence[int] = 1,
    padding: Padding = "SAME",
    dilation: int | Sequence[int] = 1,
    use_bias: bool = True,
    normalization: Normalization | None = None,
    activation: str | Callable | None = None,
    kernel_init: Initializer = initializers.he_normal_fan_out,
    bias_init: Initializer = initializers.zeros,
    rngs: nnx.Rngs,
  ):
    if multiplier < 1:
      raise UserError(f"multiplier={multiplier} must be at least 1")
    between = in_features * multiplier
    kernel_size = check_kernel_size(kernel_size)
    conv = functools.partial(Convolution, kernel_init=kernel_init, bias_init=bias_init, rngs=rngs)
    space = {"strides": strides, "padding": padding, "dilation": dilation}
    depthwise = conv(in_features, between, kernel_size, groups=in_features, use_bias=False, **space)
    pointwise = conv(between, out_features, (1,) * len(kernel_size), use_bias=use_bias)
    norm = None if normalization is None else normalization(between)
    super().__init__([depthwise, pointwise], [norm, None], [find_activation(activation), None])


class SpatiallySeparableConvolution(Steps):
  """One convolution for each spatial axis: k x 1, then 1 x k (Jaderberg et al. 2014; Szegedy et al. 2016).

  With `rank` channels between the steps it is a standard convolution whose kernel, as a matrix [k * in_features,
  k * out_features], has at most that rank. At rank 1 there is one step and nothing to separate.

  Args:
    rank: channels between the steps (default: out_features).
    split: "axes" (one step for each axis) or "2+1" (rank 3 only: 1 x k x k, then k x 1 x 1, as R(2+1)D, Tran et al.
      2018).
    normalization, activation: between the steps, as in `DepthwiseSeparableConvolution`.
    in_features, out_features, kernel_size, strides, padding, dilation, groups, use_bias, kernel_init, bias_init, rngs:
      as in `Convolution`. The bias belongs to the last step.

  Raises:
    UserError: as `Convolution`, and for a rank that is below 1 or no multiple of the groups, or a split that is not
      known or does not fit the kernel.

  >>> layer = SpatiallySeparableConvolution(64, 64, (3, 3), use_bias=False, rngs=nnx.Rngs(0))
  >>> [convolution.kernel_size for convolution in layer.convolutions]
  [(3, 1), (1, 3)]
  >>> layer.parameters() / (3 * 3 * 64 * 64)  # of a standard convolution's
  0.6666666666666666
  """

  def __init__(
    self,
    in_features: int,
    out_features: int,
    kernel_size: Sequence[int],
    *,
    rank: int | None = None,
    split: str = "axes",
    strides: int | Sequence[int] = 1,
    padding: Padding = "SAME",
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    use_bias: bool = True,
    normalization: Normalization | None = None,
    activation: str | Callable | None = None,
    kernel_init: Initializer = initializers.he_normal_fan_out,
    bias_init: Initializer = initializers.zeros,
    rngs: nnx.Rngs,
  ):
    kernel_size = check_kernel_size(kernel_size)
    axes = len(kernel_size)
    strides, dilation = per_axis("strides", strides, axes), per_axis("dilation", dilation, axes)
    between = out_features if rank is None else rank
    if rank is not None and (rank < 1 or rank % max(groups, 1)):
      raise UserError(f"rank={rank} must be at least 1 and a multiple of groups={groups}")
    parts = step_axes(split, kernel_size)
    features = [in_features, *[between] * (len(parts) - 1), out_features]
    convolutions = []
    for part, wide_in, wide_out in zip(parts, features[:-1], features[1:], strict=True):
      last = part is parts[-1]
      convolutions.append(
        Convolution(
          wide_in,
          wide_out,
          _on(part, kernel_size, 1),
          strides=_on(part, strides, 1),
          padding=padding if isinstance(padding, str) else _on(part, padding_pairs(padding, axes), (0, 0)),
          dilation=_on(part, dilation, 1),
          groups=groups,
          use_bias=use_bias and last,
          kernel_init=kernel_init,
          bias_init=bias_init,
          rngs=rngs,
        )
      )
    inner = len(parts) - 1
    norms = [None if normalization is None else normalization(between) for _ in range(inner)]
    super().__init__(convolutions, [*norms, None], [*[find_activation(activation)] * inner, None])


class InvertedBottleneck(Steps):
  """MobileNetV2's block (Sandler et al. 2018, Table 1): 1 x 1 that expands the channels, depthwise, linear 1 x 1.

  The input is added to the output if the stride is 1 and the two have the same shape.

  Args:
    expansion: t of the paper; 1 leaves out the first step, as the paper's first block.
    normalization: after each of the three steps; None for none.
    activation: after the first two steps; a function or its name in jax.nn.
    zero_init_residual: starts the last normalisation's scale at zero where the input is added, so that the layer
      begins as the identity (Goyal et al. 2017, section 5.1). Deep networks whose layers are all replaced by this one
      learn slowly without it.
    in_features, out_features, kernel_size, strides, padding, dilation, use_bias, kernel_init, bias_init, rngs: as in
      `Convolution`. `use_bias` holds for all three steps.

  Raises:
    UserError: as `Convolution`, and for an expansion below 1.

  >>> layer = InvertedBottleneck(16, 16, (3, 3), use_bias=False, rngs=nnx.Rngs(0))
  >>> [convolution.out_features for convolution in layer.convolutions]
  [96, 96, 16]
  """

  def __init__(
    self,
    in_features: int,
    out_features: int,
    kernel_size: Sequence[int],
    *,
    expansion: int = 6,
    strides: int | Sequence[int] = 1,
    padding: Padding = "SAME",
    dilation: int | Sequence[int] = 1,
    use_bias: bool = True,
    normalization: Normalization | None = None,
    activation: str | Callable = "relu6",
    zero_init_residual: bool = False,
    kernel_init: Initializer = initializers.he_normal_fan_out,
    bias_init: Initializer = initializers.zeros,
    rngs: nnx.Rngs,
  ):
    if expansion < 1:
      raise UserError(f"expansion={expansion} must be at least 1")
    kernel_size = check_kernel_size(kernel_size)
    ones, wide = (1,) * len(kernel_size), in_features * expansion
    conv = functools.partial(Convolution, use_bias=use_bias, kernel_init=kernel_init, bias_init=bias_init, rngs=rngs)
    space = {"strides": strides, "padding": padding, "dilation": dilation}
    convolutions = [] if expansion == 1 else [conv(in_features, wide, ones)]
    convolutions += [conv(wide, wide, kernel_size, groups=wide, **space), conv(wide, out_features, ones)]
    norms: list[Any] = [None if normalization is None else normalization(c.out_features) for c in convolutions]
    super().__init__(convolutions, norms, [*[find_activation(activation)] * (len(convolutions) - 1), None])
    self.reduces = max(per_axis("strides", strides, len(kernel_size))) > 1
    if zero_init_residual and normalization is not None and in_features == out_features and not self.reduces:
      norms[-1].scale.set_value(jax.device_put(np.zeros(out_features, np.float32)))

  def __call__(self, x: jax.Array) -> jax.Array:
    """x [batch, *spatial, in_features] -> [batch, *output sizes, out_features]."""
    y = super().__call__(x)
    return x + y if x.shape == y.shape and not self.reduces else y


def find_activation(activation: str | Callable | None) -> Callable | None:
  """The function of that name in jax.nn; a function or None as it is."""
  if isinstance(activation, str):
    check_name("activation", activation, _ACTIVATIONS)
    return getattr(jax.nn, activation)
  return activation


_ACTIVATIONS = ("elu", "gelu", "hard_swish", "leaky_relu", "mish", "relu", "relu6", "selu", "sigmoid", "silu", "tanh")


def step_axes(split: str, kernel_size: tuple[int, ...]) -> list[tuple[int, ...]]:
  """The axes of each step of a `SpatiallySeparableConvolution`.

  Axes of one tap have nothing to separate; they go with the last step.
  """
  check_name("split", split, ("axes", "2+1"))
  if split == "2+1":
    if len(kernel_size) != 3:
      raise UserError(f"split='2+1' needs a kernel of rank 3, kernel_size={kernel_size} has rank {len(kernel_size)}")
    return [(1, 2), (0,)]
  wide = [(axis,) for axis, k in enumerate(kernel_size) if k > 1] or [()]
  return [*wide[:-1], wide[-1] + tuple(axis for axis, k in enumerate(kernel_size) if k == 1)]


def _on(part, values, other):
  return tuple(value if axis in part else other for axis, value in enumerate(values))

"""A convolution, normalisation and an activation: the unit that most networks are made of."""

from collections.abc import Callable, Sequence

import jax
from flax import nnx

from cnn_zoo.convolutions import Convolution
from cnn_zoo.convolutions.arithmetic import Padding, per_axis
from cnn_zoo.convolutions.separable import find_activation
from cnn_zoo.layers.normalization import BatchNorm


class ConvNorm(nnx.Module):
  """activation(norm(conv(x))).

  Args:
    in_features: channels of the input.
    out_features: channels of the output.
    kernel_size: one size per spatial axis.
    strides: of the convolution.
    padding: of the convolution. None pads each side of an axis by dilation * (kernel // 2), so that with an odd kernel
      only the strides change the sizes.
    dilation: of the convolution.
    use_bias: whether the convolution has a bias. None: only without normalisation, which has a bias of its own.
    norm: makes the normalisation layer for a number of channels; None for no normalisation.
    activation: a function, its name in jax.nn, or None.
    conv: makes the convolution, for a variant other than `Convolution`.
    rngs: the source of initial values.
    **options: further options of `conv`, such as `groups` or `kernel_init`.

  Attributes:
    conv: the convolution.
    norm: the normalisation layer, or None.
    activation: the function, or None.

  Example:
    >>> import jax.numpy as jnp
    >>> from flax import nnx
    >>> from cnn_zoo.layers import ConvNorm
    >>> layer = ConvNorm(3, 8, (3, 3), strides=2, rngs=nnx.Rngs(0))
    >>> layer(jnp.ones((2, 9, 9, 3))).shape
    (2, 5, 5, 8)
  """

  def __init__(
    self,
    in_features: int,
    out_features: int,
    kernel_size: Sequence[int],
    *,
    strides: int | Sequence[int] = 1,
    padding: Padding | None = None,
    dilation: int | Sequence[int] = 1,
    use_bias: bool | None = None,
    norm: Callable[[int], nnx.Module] | None = BatchNorm,
    activation: str | Callable | None = "relu",
    conv: Callable[..., nnx.Module] = Convolution,
    rngs: nnx.Rngs,
    **options,
  ):
    if padding is None:
      dilations = per_axis("dilation", dilation, len(kernel_size))
      padding = tuple(d * (k // 2) for k, d in zip(kernel_size, dilations, strict=True))
    self.conv = conv(
      in_features,
      out_features,
      kernel_size,
      strides=strides,
      padding=padding,
      dilation=dilation,
      use_bias=norm is None if use_bias is None else use_bias,
      rngs=rngs,
      **options,
    )
    self.norm = None if norm is None else norm(out_features)
    self.activation = find_activation(activation)

  def __call__(self, x: jax.Array) -> jax.Array:
    """x [batch, *spatial, in_features] -> [batch, *output sizes, out_features]."""
    x = self.conv(x)
    x = x if self.norm is None else self.norm(x)
    return x if self.activation is None else self.activation(x)

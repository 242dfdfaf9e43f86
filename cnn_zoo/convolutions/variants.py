"""The variants by name, behind one signature."""

import inspect
from collections.abc import Callable, Sequence

from flax import nnx

from cnn_zoo.convolutions.convolution import Convolution, check_kernel_size
from cnn_zoo.convolutions.separable import (
  DepthwiseSeparableConvolution,
  InvertedBottleneck,
  SpatiallySeparableConvolution,
)
from cnn_zoo.convolutions.transposed import TransposedConvolution
from cnn_zoo.errors import UserError, check_name, nearest


def _standard(in_features, out_features, kernel_size, *, groups=1, **options):
  return Convolution(in_features, out_features, kernel_size, groups=groups, **options)


def _grouped(in_features, out_features, kernel_size, *, groups=2, **options):
  return Convolution(in_features, out_features, kernel_size, groups=groups, **options)


def _depthwise(in_features, out_features, kernel_size, *, multiplier=None, **options):
  if multiplier is not None and out_features != in_features * multiplier:
    raise UserError(f"multiplier={multiplier} makes {in_features * multiplier} features, not {out_features=}")
  if in_features > 0 and out_features % in_features:
    raise UserError(f"{out_features=} of a depthwise convolution must be a multiple of {in_features=}")
  return Convolution(in_features, out_features, kernel_size, groups=in_features, **options)


def _pointwise(in_features, out_features, kernel_size, *, groups=1, **options):
  kernel_size = check_kernel_size(kernel_size)
  if max(kernel_size) > 1:
    raise UserError(f"kernel_size={kernel_size} of a pointwise convolution must be 1 in every axis")
  return Convolution(in_features, out_features, kernel_size, groups=groups, **options)


def _dilated(in_features, out_features, kernel_size, *, dilation=2, groups=1, **options):
  return Convolution(in_features, out_features, kernel_size, dilation=dilation, groups=groups, **options)


_VARIANTS: dict[str, Callable[..., nnx.Module]] = {
  "standard": _standard,
  "grouped": _grouped,
  "pointwise": _pointwise,
  "depthwise": _depthwise,
  "depthwise_separable": DepthwiseSeparableConvolution,
  "spatially_separable": SpatiallySeparableConvolution,
  "dilated": _dilated,
  "transposed": TransposedConvolution,
  "inverted_bottleneck": InvertedBottleneck,
}


def list_convolutions() -> list[str]:
  """The names that `create_convolution` takes.

  >>> list_convolutions()[:4]
  ['standard', 'grouped', 'pointwise', 'depthwise']
  """
  return list(_VARIANTS)


def convolution_options(name: str) -> list[str]:
  """The options of a variant, besides features, kernel size and rngs.

  Args:
    name: one of `list_convolutions()`.

  Returns:
    Their names, sorted.

  Raises:
    UserError: if there is no such variant.

  >>> convolution_options("dilated")
  ['bias_init', 'dilation', 'groups', 'kernel_init', 'padding', 'strides', 'use_bias']
  """
  check_name("convolution", name, _VARIANTS)
  variant = _VARIANTS[name]
  names = _keywords(variant.__init__ if inspect.isclass(variant) else variant)
  if not inspect.isclass(variant):  # a point of Convolution, whose other options it passes on
    names |= _keywords(Convolution.__init__) - {"groups"}
  return sorted(names - {"rngs"})


def _keywords(function):
  parameters = inspect.signature(function).parameters.values()
  return {parameter.name for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY}


def create_convolution(
  name: str, in_features: int, out_features: int, kernel_size: Sequence[int], *, rngs: nnx.Rngs, **options
) -> nnx.Module:
  """A convolution by name: a layer over [batch, *spatial, in_features] -> [batch, *output sizes, out_features].

  Args:
    name: "standard" (every output channel sees every input channel); "grouped" (only those of its group; `groups`, by
      default 2); "pointwise" (1 x 1); "depthwise" (each channel by itself; out_features is a multiple of in_features);
      "depthwise_separable"; "spatially_separable"; "dilated" (`dilation`, by default 2); "transposed";
      "inverted_bottleneck".
    in_features: channels of the input.
    out_features: channels of the output.
    kernel_size: one size for each spatial axis; its length is the rank.
    rngs: the source of initial values.
    **options: strides, padding, dilation, use_bias, kernel_init, bias_init and the variant's own, all listed by
      `convolution_options(name)`.

  Returns:
    A module with the methods output_shape(input_shape), parameters(), multiply_adds(input_shape) and
    receptive_field().

  Raises:
    UserError: if the name or an option is not known or the sizes do not fit it.

  >>> import jax.numpy as jnp
  >>> layer = create_convolution("depthwise", 4, 8, (3, 3), strides=2, rngs=nnx.Rngs(0))
  >>> layer(jnp.ones((1, 6, 6, 4))).shape
  (1, 3, 3, 8)
  """
  valid = convolution_options(name)
  for option in options:
    if option not in valid:
      raise UserError(f"convolution {name} has no option {option!r}; {nearest(option, valid)}")
  return _VARIANTS[name](in_features, out_features, kernel_size, rngs=rngs, **options)

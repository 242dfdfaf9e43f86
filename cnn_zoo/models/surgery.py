"""Layer surgery: any convolution variant instead of an architecture's own k x k convolutions."""

import ast
from collections.abc import Mapping

from flax import nnx

from cnn_zoo.convolutions import Convolution, convolution_options, create_convolution
from cnn_zoo.convolutions.arithmetic import padding_pairs, per_axis
from cnn_zoo.errors import UserError, check_name, nearest
from cnn_zoo.layers import BatchNorm

_NORMALIZATIONS = {"batch": BatchNorm, "none": None}
_KINDS = {"keep": str, "normalization": str, "activation": str, "split": str, "zero_init_residual": bool}  # else int


def replace_convolutions(model: nnx.Module, convolution: str | Mapping, *, rngs: nnx.Rngs) -> None:
  """Replaces every `Convolution` of `model` with more than one tap by a variant of the same shapes, in place.

  The variant keeps the strides, padding, groups, bias and initialiser of the layer that it replaces, as far as it has
  them. Pointwise and transposed convolutions are not replaced.

  Args:
    model: is changed in place.
    convolution: a name of `list_convolutions()`, as "depthwise_separable"; a name with options, as
      "grouped:groups=4,keep=stem"; or the same as a mapping, {"name": "grouped", "groups": 4, "keep": "stem"}. `keep`
      names the layers that are not replaced, by the beginning of their path, several joined by "+". `normalization` is
      "batch" (the default of "inverted_bottleneck") or "none". "standard" changes nothing.
    rngs: the source of initial values.

  Raises:
    UserError: if the variant or an option does not exist, or a layer cannot be replaced; the message names the layer.

  Example:
    >>> from flax import nnx
    >>> from cnn_zoo import create_model
    >>> from cnn_zoo.models.surgery import replace_convolutions
    >>> model = create_model("lenet5", rngs=nnx.Rngs(0))
    >>> replace_convolutions(model, "depthwise_separable:keep=c1", rngs=nnx.Rngs(0))
    >>> [type(layer).__name__ for layer in (model.c1, model.c3, model.c5)]
    ['Convolution', 'DepthwiseSeparableConvolution', 'DepthwiseSeparableConvolution']
  """
  name, options = parse_convolution(convolution)
  keep = [path for path in str(options.pop("keep", "")).split("+") if path]
  if name == "standard":
    return
  layers = {".".join(map(str, path)): module for path, module in nnx.iter_modules(model)}
  places = [path for path, layer in layers.items() if isinstance(layer, Convolution) and max(layer.kernel_size) > 1]
  for path in keep:
    if not any(_is_within(layer, path) for layer in layers):
      raise UserError(f"convolution keep={path!r} is no layer of the model; {nearest(path, places)}")
  for path in places:
    if not any(_is_within(path, kept) for kept in keep):
      _set(model, path, _replacement(name, options, path, layers[path], rngs))


def parse_convolution(convolution: str | Mapping) -> tuple[str, dict]:
  """The variant's name and its options.

  Args:
    convolution: as `replace_convolutions` takes it.

  Returns:
    The name, and {option: value} with defaults that differ from those of the variant.

  Raises:
    UserError: if the name or an option does not exist or a value has another type.

  Example:
    >>> from cnn_zoo.models.surgery import parse_convolution
    >>> parse_convolution("grouped:groups=4,keep=stem")
    ('grouped', {'groups': 4, 'keep': 'stem'})
  """
  if isinstance(convolution, Mapping):
    options = dict(convolution)
    name = options.pop("name", "standard")
  else:
    name, _, text = convolution.partition(":")
    options = {}
    for item in filter(None, text.split(",")):
      option, equals, value = item.partition("=")
      if not equals:
        raise UserError(f"convolution={convolution!r} must be NAME or NAME:option=value,option=value")
      options[option] = _value(value)
  valid = {*convolution_options(name), "keep"} - {"strides", "padding", "use_bias", "kernel_init", "bias_init"}
  for option, value in options.items():
    if name == "standard":
      raise UserError(f"convolution standard, the architecture's own, takes no option, here {option}={value}")
    if option not in valid:
      raise UserError(f"convolution {name} has no option {option!r}; {nearest(option, valid)}")
    kind = _KINDS.get(option, int)
    if type(value) is not kind:  # True is not a number here
      what = {str: "a name", bool: "True or False", int: "a whole number"}[kind]
      raise UserError(f"convolution {name}: {option}={value!r} must be {what}")
  if name == "inverted_bottleneck":  # as in the paper; without it networks do not train
    options.setdefault("normalization", "batch")
    options.setdefault("zero_init_residual", True)  # as the identity; otherwise it learns several times as slowly
  if "normalization" in options:
    check_name("normalization", options["normalization"], _NORMALIZATIONS)
    options["normalization"] = _NORMALIZATIONS[options["normalization"]]
  return name, options


def _value(text):
  try:
    return ast.literal_eval(text)
  except (SyntaxError, ValueError):
    return text


def _is_within(path, prefix):
  return path == prefix or path.startswith(prefix + ".")


def _replacement(name, options, path, layer, rngs):
  own = {
    "strides": layer.strides,
    "padding": layer.padding,
    "dilation": layer.dilation,
    "groups": layer.groups,
    "use_bias": layer.use_bias,
    "kernel_init": layer.kernel_init,
    "bias_init": layer.bias_init,
  }
  if name in ("grouped", "depthwise"):  # their groups are their own
    del own["groups"]
  sizes = "x".join(map(str, layer.kernel_size))
  what = f"convolution={name!r} cannot replace {path} ({sizes}, {layer.in_features} -> {layer.out_features} channels)"
  if name == "transposed" and max(layer.strides) > 1:
    raise UserError(f"{what}: with strides={layer.strides} it would enlarge, not reduce; keep={path} leaves it")
  valid = convolution_options(name)
  try:
    if name == "dilated" or "dilation" in options:
      own["dilation"] = per_axis("dilation", options.get("dilation", 2), len(layer.kernel_size))
      own["padding"] = _same_sizes(layer, own["dilation"])
    if name == "transposed" and own["padding"] != "SAME":
      own["padding"] = _transposed_padding(own["padding"], layer.kernel_size, own["dilation"])
    return create_convolution(
      name,
      layer.in_features,
      layer.out_features,
      layer.kernel_size,
      rngs=rngs,
      **{option: value for option, value in {**own, **options}.items() if option in valid},
    )
  except UserError as error:
    raise UserError(f"{what}: {error}; keep={path} leaves it") from None


def _same_sizes(layer, dilation):
  """Padding with which a larger dilation gives the layer's own output sizes."""
  if layer.padding in ("SAME", "CAUSAL"):
    return layer.padding
  pairs = padding_pairs(0 if layer.padding == "VALID" else layer.padding, len(dilation))
  extra = [(k - 1) * (new - old) for k, new, old in zip(layer.kernel_size, dilation, layer.dilation, strict=True)]
  return tuple((low + e // 2, high + e - e // 2) for (low, high), e in zip(pairs, extra, strict=True))


def _transposed_padding(padding, kernel_size, dilation):
  """Padding with which a transposed convolution of stride 1 gives the output sizes of one with `padding`."""
  spans = [d * (k - 1) for k, d in zip(kernel_size, dilation, strict=True)]
  if padding == "CAUSAL":
    return ((0, spans[0]),)
  pairs = padding_pairs(0 if padding == "VALID" else padding, len(spans))
  return tuple((span - low, span - high) for span, (low, high) in zip(spans, pairs, strict=True))


def _set(model, path, module):
  *parents, last = path.split(".")
  for name in parents:
    model = model[int(name)] if name.isdigit() else getattr(model, name)
  if last.isdigit():
    model[int(last)] = module
  else:
    setattr(model, last, module)

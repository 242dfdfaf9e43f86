"""The models by name."""

import inspect
from collections.abc import Callable, Mapping
from typing import NamedTuple, cast

import jax
import jax.numpy as jnp
from flax import nnx

from cnn_zoo.errors import UserError, check_name, nearest
from cnn_zoo.models.surgery import parse_convolution, replace_convolutions


class Setting(NamedTuple):
  """What a model was published for.

  Attributes:
    input_shape: of one example: [*spatial, channels].
    num_classes: width of its logits.
  """

  input_shape: tuple[int, ...] = (224, 224, 3)
  num_classes: int = 1000


class Entry(NamedTuple):
  """A name of the registry.

  Attributes:
    model: the class.
    published: what the model was published for.
    defaults: the values of options that differ from those of the class.
    fixed: the arguments of the class that make this size; they are no options.
  """

  model: Callable[..., nnx.Module]
  published: Setting
  defaults: Mapping[str, object]
  fixed: Mapping[str, object]


_MODELS: dict[str, Entry] = {}
_COMMON = ("num_classes", "in_channels", "dtype", "rngs")  # arguments of every model


def register(
  name: str,
  model: Callable[..., nnx.Module],
  published: Setting | None = None,
  *,
  defaults: Mapping[str, object] | None = None,
  **fixed,
) -> None:
  """Makes `create_model(name)` build a `model`.

  The options of the name are the keyword arguments of the class, those of its parent if it passes `**options` on, and
  those of its `block`, without the ones that are fixed here. So `register("resnet50", ResNet, block=Bottleneck,
  layers=(3, 4, 6, 3))` has the options of `ResNet` and the `stride_in` of `Bottleneck`.

  Args:
    name: lower case, as torchvision and timm spell it or as the paper does.
    model: a class (`Network`) that takes num_classes, in_channels, dtype and rngs besides its options.
    published: what it was published for; ImageNet by default.
    defaults: values of options where this size has others than the class.
    **fixed: arguments of the class, or of its block, that make this size.

  Raises:
    ValueError: for a name that is taken, an argument that the class does not have, or one without a value.
  """
  if name in _MODELS:
    raise ValueError(f"two models are called {name!r}")
  entry = Entry(model, published or Setting(), dict(defaults or {}), fixed)
  parameters = _parameters(model, fixed.get("block"))
  given = {**entry.defaults, **fixed}
  if unknown := given.keys() - parameters.keys():
    raise ValueError(f"{name}: {getattr(model, '__name__', model)} has no argument {', '.join(sorted(unknown))}")
  missing = [p for p, default in parameters.items() if default is inspect.Parameter.empty and p not in given]
  if missing := sorted(set(missing) - set(_COMMON)):
    raise ValueError(f"{name}: no value for {', '.join(missing)}")
  _MODELS[name] = entry


def _parameters(model, block=None):
  """{name: default} of the arguments of the class, those that it passes on to its parent, and those of its block."""
  parameters = {}
  for kind in inspect.getmro(model):
    own = inspect.signature(kind.__init__).parameters.values()  # NNX hides the signature of a class
    parameters = _keywords(own) | parameters
    if not any(p.kind is p.VAR_KEYWORD for p in own):
      break
  return parameters if block is None else _keywords(inspect.signature(block.__init__).parameters.values()) | parameters


def _keywords(parameters):
  return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}


def list_models() -> list[str]:
  """The names that `create_model` takes.

  Example:
    >>> from cnn_zoo import list_models
    >>> [name for name in list_models() if name.startswith("lenet")]
    ['lenet5', 'lenet_maxpool']
  """
  return sorted(_MODELS)


def entry(name: str) -> Entry:
  """How model `name` was registered; raises UserError for a name that does not exist."""
  check_name("model", name, _MODELS)
  return _MODELS[name]


def published_setting(name: str) -> Setting:
  """The input and the number of classes that a model was published with. It takes others too.

  Args:
    name: one of `list_models()`.

  Returns:
    The shape of an example and the number of classes.

  Raises:
    UserError: for a name that does not exist.

  Example:
    >>> from cnn_zoo.models import published_setting
    >>> published_setting("c3d")
    Setting(input_shape=(16, 112, 112, 3), num_classes=487)
  """
  return entry(name).published


def model_options(name: str) -> dict[str, object]:
  """The options of an architecture, besides those of every model.

  Args:
    name: one of `list_models()`.

  Returns:
    {option: its default value}.

  Raises:
    UserError: for a name that does not exist.

  Example:
    >>> from cnn_zoo.models import model_options
    >>> model_options("densenet121")
    {'growth_rate': 32, 'rank': 2, 'remat': False}
  """
  model, _, defaults, fixed = entry(name)
  parameters = _parameters(model, fixed.get("block"))
  options = {option: defaults.get(option, default) for option, default in parameters.items()}
  return {option: value for option, value in options.items() if option not in _COMMON and option not in fixed}


def create_model(
  name: str,
  *,
  num_classes: int = 1000,
  in_channels: int = 3,
  features_only: bool = False,
  convolution: str | Mapping = "standard",
  dtype=None,
  rngs: nnx.Rngs,
  **architecture_options,
) -> nnx.Module:
  """A model that maps a channels-last batch [batch, *spatial, in_channels] to float32 logits [batch, num_classes].

  It starts in training mode; `model.eval()` and `model.train()` switch.

  Args:
    name: one of `list_models()`.
    num_classes: width of the logits.
    in_channels: channels of the input.
    features_only: builds the model without its classifier. It then returns what `model.features` returns: an ordered
      dictionary {name of the stage: map [batch, *spatial / reduction, channels]}.
    convolution: the variant that replaces each convolution with more than one tap, a name or a name with options
      (`surgery.replace_convolutions`); "standard" keeps the architecture's own.
    dtype: what it computes in (default float32); parameters are always float32.
    rngs: the source of initial values (`params`) and of training noise (`dropout`).
    **architecture_options: those of `model_options(name)`; None keeps the default.

  Returns:
    The model, with initial values.

  Raises:
    UserError: for a name or an option that does not exist, and for a layer that `convolution` cannot replace.

  Example:
    >>> import jax.numpy as jnp
    >>> from flax import nnx
    >>> from cnn_zoo import create_model
    >>> model = create_model("vgg11", features_only=True, in_channels=1, rank=1, rngs=nnx.Rngs(0))
    >>> [x.shape for x in model(jnp.ones((1, 64, 1))).values()]
    [(1, 32, 64), (1, 16, 128), (1, 8, 256), (1, 4, 512), (1, 2, 512)]
  """
  valid = model_options(name)
  for field, value in (("num_classes", num_classes), ("in_channels", in_channels)):
    if value < 1:
      raise UserError(f"{field}={value} must be at least 1")
  for option in architecture_options:
    if option not in valid:
      raise UserError(f"model {name} has no option {option!r}; {nearest(option, valid) if valid else 'it has none'}")
  parse_convolution(convolution)  # reports a mistake before anything is built
  model, _, defaults, fixed = entry(name)
  given = {option: value for option, value in architecture_options.items() if value is not None}
  built = model(
    num_classes=None if features_only else num_classes,
    in_channels=in_channels,
    dtype=dtype or jnp.float32,
    rngs=rngs,
    **{**defaults, **fixed, **given},
  )
  replace_convolutions(built, convolution, rngs=rngs)
  return built


def abstract_model(name: str, **options) -> nnx.Module:
  """A model with shapes instead of numbers, which takes no time and no memory at any size.

  Args:
    name: one of `list_models()`.
    **options: as `create_model` takes them, without rngs.

  Returns:
    The model, whose parameters are `jax.ShapeDtypeStruct`.

  Example:
    >>> from cnn_zoo.models import abstract_model
    >>> abstract_model("vgg19").head.hidden[0].kernel.shape
    (25088, 4096)
  """
  return nnx.eval_shape(lambda: create_model(name, rngs=cast(nnx.Rngs, _OneKey()), **options))


class _OneKey:
  """Replaces nnx.Rngs where no numbers are drawn: inside `eval_shape` nnx.Rngs takes time quadratic in the layers."""

  def __init__(self):
    self.key = jax.random.key(0)

  def __call__(self):
    return self.key

  params = dropout = __call__

"""The models by name."""

import inspect
from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from cnn_zoo.errors import UserError, check_name, nearest
from cnn_zoo.models.surgery import parse_convolution, replace_convolutions


class Setting(NamedTuple):
  """What a model was published for: the shape of one example [*spatial, channels] and the number of classes."""

  input_shape: tuple[int, ...] = (224, 224, 3)
  num_classes: int = 1000


_BUILDERS: dict[str, Callable[..., nnx.Module]] = {}
_PUBLISHED: dict[str, Setting] = {}


def register(name: str, builder: Callable[..., nnx.Module], published: Setting | None = None) -> None:
  """Makes `create_model(name)` call `builder(num_classes=, in_channels=, dtype=, rngs=, **architecture options)`."""
  if name in _BUILDERS:
    raise ValueError(f"two models are called {name!r}")
  _BUILDERS[name], _PUBLISHED[name] = builder, published or Setting()


def list_models() -> list[str]:
  """The names that `create_model` takes."""
  return sorted(_BUILDERS)


def published_setting(name: str) -> Setting:
  """The input and the classes that model `name` was published with; it takes others too."""
  check_name("model", name, _BUILDERS)
  return _PUBLISHED[name]


def model_options(name: str) -> dict[str, object]:
  """The options that architecture `name` takes besides those of every model, with the values it has by itself."""
  check_name("model", name, _BUILDERS)
  common = {"self", "num_classes", "in_channels", "dtype", "rngs"}
  builder = _BUILDERS[name]  # a function, or a class, whose own signature NNX hides
  parameters = inspect.signature(builder.__init__ if inspect.isclass(builder) else builder).parameters.values()
  return {p.name: p.default for p in parameters if p.name not in common}


def create_model(
  name: str,
  *,
  num_classes: int = 1000,
  in_channels: int = 3,
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
    convolution: the variant that takes the place of each convolution of more than one tap, a name or a name with
      options (`slot.replace_convolutions`); "standard" leaves the architecture's own.
    dtype: what it computes in (default float32); parameters are float32 always.
    rngs: the source of initial values (`params`) and of training noise (`dropout`).
    **architecture_options: what `model_options(name)` lists; None leaves the architecture's own value.

  Raises:
    UserError: for a name or an option that does not exist, and for a layer that `convolution` cannot replace.
  """
  valid = model_options(name)
  for field, value in (("num_classes", num_classes), ("in_channels", in_channels)):
    if value < 1:
      raise UserError(f"{field}={value} must be at least 1")
  for option in architecture_options:
    if option not in valid:
      raise UserError(f"model {name} has no option {option!r}; {nearest(option, valid) if valid else 'it has none'}")
  given = {k: v for k, v in architecture_options.items() if v is not None}
  parse_convolution(convolution)  # a mistake in it is told before anything is built
  model = _BUILDERS[name](
    num_classes=num_classes, in_channels=in_channels, dtype=dtype or jnp.float32, rngs=rngs, **given
  )
  replace_convolutions(model, convolution, rngs=rngs)
  return model


def abstract_model(name: str, **options) -> nnx.Module:
  """What `create_model` returns for the same options, with shapes in the place of numbers: instantly, at any size."""
  return nnx.eval_shape(lambda: create_model(name, rngs=_OneKey(), **options))


class _OneKey:
  """Stands in for nnx.Rngs where nothing is drawn: inside `eval_shape` nnx.Rngs takes time quadratic in the layers."""

  def __init__(self):
    self.key = jax.random.key(0)

  def __call__(self):
    return self.key

  params = dropout = __call__

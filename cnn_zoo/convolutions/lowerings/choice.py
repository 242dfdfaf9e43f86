"""Which lowerings are used where: the setting, and how a row of a table of rules is chosen."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import jax

from cnn_zoo.errors import check_name

LOWERINGS = ("auto", "lax")


class _Setting(NamedTuple):
  name: str
  platform: str | None


# A part of the key of every cache of jit: a function is traced again when the setting is another one.
_setting = jax.make_user_context(_Setting("auto", None))


@contextlib.contextmanager
def lowering(name: str, platform: str | None = None) -> Iterator[None]:
  """Within the context, convolutions, pooling and resizing are computed by these lowerings.

  The setting is read when a function is traced. It is part of the key of `jax.jit`'s caches, so that a function that
  was traced outside is traced again inside.

  Args:
    name: "auto", the fastest known for the platform and the shape, or "lax", XLA's own operations everywhere.
    platform: what is computed on ("cpu", "gpu" or "tpu"). None is that of the surrounding context, or else JAX's
      default backend. Programs for devices of another platform, such as those compiled on a CPU for a TPU, need it.

  Raises:
    UserError: for a name that is not known.

  >>> import jax.numpy as jnp
  >>> from flax import nnx
  >>> from cnn_zoo.convolutions import Convolution
  >>> layer, x = Convolution(2, 3, (1, 1), rngs=nnx.Rngs(0)), jnp.ones((1, 4, 4, 2))
  >>> for setting in ("auto", "lax"):
  ...   with lowering(setting, platform="cpu"):
  ...     print("conv_general_dilated" in str(jax.make_jaxpr(layer)(x)))
  False
  True
  """
  check_name("convolution_lowering", name, LOWERINGS)
  with _setting(_Setting(name, platform or _setting.value.platform)):
    yield


class Rule(NamedTuple):
  """A row of a table: on this platform, arguments of this class of shapes are computed by this lowering."""

  platform: str
  fits: Callable[..., bool]
  lowering: Callable


def choose(rules: Sequence[Rule], default: Callable, *arguments) -> Callable:
  """The lowering of the first of `rules` that fits the platform and the arguments; `default` where none does."""
  platform = current_platform()
  for rule in rules:
    if rule.platform == platform and rule.fits(*arguments):
      return rule.lowering
  return default


def current_platform() -> str | None:
  """The platform whose rules hold; None within `lowering("lax")`, where no rule does."""
  name, platform = _setting.value
  return None if name == "lax" else platform or jax.default_backend()

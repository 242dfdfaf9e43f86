"""Receptive fields: what each value of a traced program sees of the input, found by walking through the program.

The program is the jaxpr of the model, so that branches, shortcuts and pooling functions need no description of their
own.
"""

import itertools
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from jax.extend.core import Literal, jaxprs_in_params

from cnn_zoo.describe.primitive_rules import RULES, resized
from cnn_zoo.describe.views import View, everything, unite


class Event(NamedTuple):
  """A named value, or the result of a pooling layer.

  Attributes:
    tag: the name that `jax.ad_checkpoint.checkpoint_name` gave it. For a pooling layer, the names of the scopes that it
      runs in, its own last, joined by "/".
    shape: of the value.
    dtype: of the value.
    view: None if the value does not depend on the input.
    source: for a pooling layer, the view of its input.
  """

  tag: str
  shape: tuple[int, ...]
  dtype: np.dtype
  view: View | None
  source: View | None = None


class Walk:
  """Follows the input through a program.

  A gate is a value without spatial axes that multiplies a value with spatial axes, such as the output of
  squeeze-and-excitation. A gate sees the whole input, and so would everything after it. As in the literature (Araujo et
  al. 2019, Computing Receptive Fields of Convolutional Neural Networks), field and depth are those of the value that is
  multiplied. A value without spatial axes that is added or concatenated counts.

  Args:
    pooling: the names of the scopes (`jax.named_scope`) that are pooling layers. Two of one name in one scope with
      nothing between them are reported as one.

  Attributes:
    events: named values and pooling layers, in the order in which they are computed.

  >>> import jax, jax.numpy as jnp
  >>> from cnn_zoo.describe.views import whole_input
  >>> program = jax.make_jaxpr(lambda x: x[:, 2:] + x[:, :-2])(jnp.ones((1, 8, 3)))
  >>> (view,) = Walk().run(program.jaxpr, [whole_input((1, 8, 3))])
  >>> view.receptive_field
  (3,)
  """

  def __init__(self, pooling: Iterable[str] = ()):
    self.events: list[Event] = []
    self._pooling = frozenset(pooling)

  def run(self, jaxpr, views: Sequence[View | None], scopes: tuple[str, ...] = ()) -> list[View | None]:
    """The views of a program's results.

    Args:
      jaxpr: the program.
      views: of its arguments. None for an argument that does not depend on the input.
      scopes: the scopes that the program runs in.

    Returns:
      A view for each result, None for one that does not depend on the input.
    """
    known = dict(zip(jaxpr.invars, views, strict=True))

    def look(variables):
      return [None if isinstance(variable, Literal) else known.get(variable) for variable in variables]

    def pooling_scopes(equation):
      inner = (*scopes, *_scopes(equation))
      return inner if inner and inner[-1] in self._pooling.difference(scopes) else ()

    for pool, equations in itertools.groupby(jaxpr.eqns, pooling_scopes):
      source = None
      for equation in equations:
        operands = look(equation.invars)
        source = source or next(filter(None, operands), None)
        known.update(zip(equation.outvars, self._equation(equation, operands, scopes), strict=True))
      if pool:
        (result,) = equation.outvars
        self._note("/".join(pool), result, known[result], source)
    return look(jaxpr.outvars)

  def _note(self, tag, variable, view, source=None):
    self.events.append(Event(tag, variable.aval.shape, variable.aval.dtype, view, source))

  def _equation(self, equation, views, scopes):
    name = equation.primitive.name
    if name == "name":
      self._note(equation.params["name"], equation.outvars[0], views[0])
    scope = "".join(_scopes(equation)[-1:])
    if scope.startswith("resize_"):
      return [resized(equation, views[0], scope.removeprefix("resize_"))]
    inner = list(jaxprs_in_params(equation.params))
    if name in _CALLS:
      return self.run(inner[0], views, (*scopes, *_scopes(equation)))
    for loop in inner:  # a field in a loop depends on the iteration, so it is unknown
      self.run(loop, [None] * len(loop.invars), scopes)
    if not any(views):
      return [None] * len(equation.outvars)
    if name in RULES:
      return RULES[name](equation, views)
    if not inner and name not in _MIXING and _is_elementwise(equation):
      return [unite(views, gates=name == "mul")] * len(equation.outvars)
    return [everything(views)] * len(equation.outvars)


def _scopes(equation):
  return tuple(filter(None, str(equation.source_info.name_stack).split("/")))


_CALLS = frozenset(
  ["jit", "pjit", "closed_call", "custom_jvp_call", "custom_vjp_call", "checkpoint", "remat", "remat2"]
)

# Operations that are not elementwise although their operands may have the shape of the result.
_MIXING = (
  "cumlogsumexp",
  "cummax",
  "cummin",
  "cumprod",
  "cumsum",
  "dynamic_update_slice",
  "fft",
  "gather",
  "scatter",
  "scatter_add",
  "sort",
)


def _is_elementwise(equation):
  """Whether every operand has the shape of the results, or size 1 where it is the same for all of their elements."""
  shape, *others = [variable.aval.shape for variable in equation.outvars]
  operands = [variable.aval.shape for variable in equation.invars if variable.aval.shape]
  fit = (len(s) == len(shape) and all(n in (1, m) for n, m in zip(s, shape, strict=True)) for s in operands)
  return all(other == shape for other in others) and all(fit)

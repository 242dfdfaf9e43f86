"""The steps of a model on one example: each call of a module and each pooling, with shapes and views."""

import math
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax.ad_checkpoint import checkpoint_name

from cnn_zoo.convolutions import lowering
from cnn_zoo.describe.receptive_fields import Walk
from cnn_zoo.describe.views import View, whole_input
from cnn_zoo.errors import UserError
from cnn_zoo.layers import adaptive_average_pool, average_pool, global_average_pool, max_pool

POOLING = tuple(f.__name__ for f in (adaptive_average_pool, average_pool, global_average_pool, max_pool))
"""The types of the steps that are functions. Each runs in a `jax.named_scope` of its name."""


class Step(NamedTuple):
  """A call of a module, or of a pooling function.

  Attributes:
    path: of the module. For pooling, the path of the module around it and the function's name, numbered from the second
      on.
    type: the name of the module's class or of the pooling function.
    outer: path of the module that makes the call. None for the call of the model itself.
    input_shape: of the module's first argument, with the batch. None for pooling.
    output_shape: of the first result, with the batch.
    output_bytes: size of the first result in its dtype.
    source: view of the input. None if it does not depend on the model's input.
    view: view of the output, likewise.
  """

  path: str
  type: str
  outer: str | None
  input_shape: tuple[int, ...] | None
  output_shape: tuple[int, ...]
  output_bytes: int
  source: View | None
  view: View | None

  @property
  def depth(self) -> int:
    """The number of layers with weights on the longest path through the step."""
    return self.view.depth - self.source.depth if self.view and self.source else 0


def trace(model: nnx.Module, input_shape: Sequence[int]) -> tuple[list[Step], View | None]:
  """The steps of a model on one example, in evaluation mode.

  Nothing is computed and the model, which may be abstract, does not change.

  Args:
    model: any model.
    input_shape: of one example, [*spatial, channels].

  Returns:
    The steps in the order in which they end, and the view of the result.

  >>> from cnn_zoo.models import abstract_model
  >>> steps, view = trace(abstract_model("lenet5", in_channels=1), (32, 32, 1))
  >>> [step.path for step in steps[:3]], view.receptive_field
  (['c1', 'average_pool', 'c3'], (32, 32))
  """
  calls: list[tuple[str, str, str | None]] = []  # path, type, outer
  graph, state = nnx.split(model)

  def run(state, x):
    copy = nnx.merge(graph, state)
    copy.eval()
    _record(copy, calls, [])
    return copy(x)

  x = jax.ShapeDtypeStruct((1, *input_shape), jnp.float32)
  # The same lowering on all backends, and the fastest to trace.
  with lowering("lax"):
    program = jax.make_jaxpr(run)(state, x).jaxpr
  walk = Walk(POOLING)
  result, *_ = walk.run(program, [*[None] * (len(program.invars) - 1), whole_input(x.shape)])
  return _steps(calls, walk.events), result


def failing_layer(model: nnx.Module, input_shape: Sequence[int]) -> str | None:
  """The layer that refuses one example of `input_shape`.

  Nothing is computed and the model, which may be abstract, does not change.

  Args:
    model: any model.
    input_shape: of one example, [*spatial, channels].

  Returns:
    "layer PATH" or "pooling in layer PATH", or None if the model takes the example.

  >>> from cnn_zoo.models import abstract_model
  >>> failing_layer(abstract_model("lenet5", in_channels=1), (20, 20, 1))
  'layer c5'
  """
  graph, state = nnx.split(model)
  active = []

  def run(state, x):
    copy = nnx.merge(graph, state)
    _record(copy, [], active)
    return copy(x)

  try:
    with lowering("lax"):
      # Two examples, because batch normalisation refuses to train on a single value per channel.
      jax.eval_shape(run, state, jax.ShapeDtypeStruct((2, *input_shape), jnp.float32))
  except UserError as error:
    where = f"layer {active[-1]}" if active and active[-1] else "the network itself"
    return f"pooling in {where}" if getattr(error, "in_pooling", False) else where
  return None


def path_name(path: Sequence) -> str:
  """A path in the model's graph as text.

  >>> path_name(("blocks", 3, "expand"))
  'blocks.3.expand'
  """
  return ".".join(map(str, path))


# The tags of the first argument and of the result of a call, each followed by the number of the call.
_ENTRY, _EXIT = "describe: into ", "describe: out of "


def _record(model, calls, active):
  """Makes every module of `model`, a private copy, record its calls. `active` holds the paths of the open ones."""
  classes = {}
  for path, module in list(nnx.iter_modules(model)):
    kind = type(module)
    if kind not in classes:
      classes[kind] = _recording(kind, calls, active)
    object.__setattr__(module, "recorded_path", path_name(path))
    object.__setattr__(module, "__class__", classes[kind])


def _recording(kind, calls, active):
  """A subclass of `kind` that records its calls."""

  class Recording(kind):
    def __call__(self, x, *args, **kwargs):
      number, path = len(calls), self.recorded_path
      calls.append((path, kind.__name__, active[-1] if active else None))
      active.append(path)
      with jax.named_scope(path):
        y = super().__call__(checkpoint_name(x, f"{_ENTRY}{number}"), *args, **kwargs)
      active.pop()
      return checkpoint_name(y, f"{_EXIT}{number}")

  return Recording


def _steps(calls, events):
  entries, steps, poolings, ended, modules = {}, [], Counter(), set(), {path for path, _, _ in calls}
  for event in events:
    size = math.prod(event.shape) * event.dtype.itemsize
    if event.tag.startswith(_ENTRY):
      entries.setdefault(int(event.tag.removeprefix(_ENTRY)), event)
    elif event.tag.startswith(_EXIT):
      number = int(event.tag.removeprefix(_EXIT))
      if number not in ended:  # only the first of several results
        ended.add(number)
        entry = entries[number]
        steps.append(Step(*calls[number], entry.shape, event.shape, size, entry.view, event.view))
    elif event.source is not None:
      *scopes, name = event.tag.split("/")
      outer = next((scope for scope in reversed(scopes) if scope in modules), "")
      path = f"{outer}.{name}" if outer else name
      poolings[path] += 1
      path += f"_{poolings[path]}" if poolings[path] > 1 else ""
      steps.append(Step(path, name, outer, None, event.shape, size, event.source, event.view))
  return steps

"""What a model does to an example, step by step: each call of a module and each pooling, with shapes and views."""

import math
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax.ad_checkpoint import checkpoint_name

from cnn_zoo.convolutions import lowering
from cnn_zoo.describe.receptive_fields import View, Walk, whole_input
from cnn_zoo.errors import UserError
from cnn_zoo.layers import adaptive_average_pool, average_pool, global_average_pool, max_pool

POOLING = tuple(f.__name__ for f in (adaptive_average_pool, average_pool, global_average_pool, max_pool))
"""The types of the steps that are functions; each runs in a scope of its name."""


class Step(NamedTuple):
  """A call of a module, or pooling.

  Attributes:
    path: of the module; of pooling, that of the module around it and its own name, numbered from the second on.
    type: the name of the module's class or of the pooling function.
    outer: path of the module that makes the call; None for the model's own.
    input_shape: of the (first) array that goes into a module, with the batch; None of pooling.
    output_shape: of the (first) array that comes out, with the batch.
    output_bytes: what it takes in its dtype.
    source, view: of the input and the output; None for what does not depend on the model's input.
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
    """Layers with weights on the longest path through the step."""
    return self.view.depth - self.source.depth if self.view and self.source else 0


def trace(model: nnx.Module, input_shape: Sequence[int]) -> tuple[list[Step], View]:
  """All steps of `model` in evaluation on one example, in the order in which they end, and the view of the result.

  Nothing is computed and the model, which may be abstract, does not change.
  """
  calls: list[tuple[str, str, str | None]] = []  # path, type, outer
  graph, state = nnx.split(model)

  def run(state, x):
    copy = nnx.merge(graph, state)
    copy.eval()
    _record(copy, calls, [])
    return copy(x)

  x = jax.ShapeDtypeStruct((1, *input_shape), jnp.float32)
  # One lowering for all backends, and the one that is traced fastest.
  with lowering("lax"):
    program = jax.make_jaxpr(run)(state, x).jaxpr
  walk = Walk(POOLING)
  result, *_ = walk.run(program, [*[None] * (len(program.invars) - 1), whole_input(x.shape)])
  return _steps(calls, walk.events), result


def failing_layer(model: nnx.Module, input_shape: Sequence[int]) -> str | None:
  """What refuses one example of `input_shape`: "layer PATH", or "pooling in" it; None if nothing does.

  Nothing is computed and the model, which may be abstract, does not change.
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
  """A path in the model's graph as text: `blocks.3.expand`."""
  return ".".join(map(str, path))


# A call marks its first argument and its result by these and its number.
_ENTRY, _EXIT = "describe: into ", "describe: out of "


def _record(model, calls, active):
  """Makes every module of `model`, a private copy, note and mark its calls; `active` has the paths of open ones."""
  classes = {}
  for path, module in list(nnx.iter_modules(model)):
    kind = type(module)
    if kind not in classes:
      classes[kind] = _recording(kind, calls, active)
    module.recorded_path = path_name(path)
    object.__setattr__(module, "__class__", classes[kind])


def _recording(kind, calls, active):
  """A subclass of `kind` that differs in that alone."""

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
      if number not in ended:  # of several results the first
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

"""The smallest input that a model takes."""

from collections.abc import Sequence
from typing import NamedTuple

from flax import nnx

from cnn_zoo.describe.tracing import failing_layer

LARGEST = 1 << 20  # elements along an axis; a model that needs more takes no input at all, as far as can be told


class Limit(NamedTuple):
  """Why an input is too small.

  Attributes:
    layer: which one has nothing left to work on, as `failing_layer` tells it.
    sizes: {field: the least size} of the fields that are too small.
  """

  layer: str
  sizes: dict[str, int]


def least_input(model: nnx.Module, input_shape: Sequence[int], fields: Sequence[str]) -> Limit | None:
  """Which layer refuses an input as too small, and what would be the least.

  Args:
    model: any model; nothing is computed, so it may be abstract.
    input_shape: of one example, [*spatial, channels].
    fields: what sets each spatial axis; axes that one field sets are of one size.

  Returns:
    None if no layer refuses it, or if larger inputs are refused as well.
  """
  *sizes, channels = input_shape
  layer = failing_layer(model, input_shape)
  if layer is None:
    return None
  given = dict(zip(fields, sizes, strict=True))

  def fits(values):
    return failing_layer(model, (*(values[field] for field in fields), channels)) is None

  enough = dict(given)
  while not fits(enough):
    enough = {field: 2 * size for field, size in enough.items()}
    if max(enough.values()) > LARGEST:
      return None
  least = {field: _least(lambda n, f=field: fits({**enough, f: n}), given[field], enough[field]) for field in given}
  return Limit(layer, {field: size for field, size in least.items() if size > given[field]})


def _least(fits, low, high):
  """The smallest n from `low` to `high` that fits, of which `high` is one."""
  while low < high:
    middle = (low + high) // 2
    low, high = (low, middle) if fits(middle) else (middle + 1, high)
  return low

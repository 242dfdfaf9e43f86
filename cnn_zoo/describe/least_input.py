"""The smallest input that a model takes."""

from collections.abc import Sequence
from typing import NamedTuple

from flax import nnx

from cnn_zoo.describe.tracing import failing_layer

LARGEST = 1 << 20  # elements along an axis; the search ends here


class Limit(NamedTuple):
  """Why an input is too small.

  Attributes:
    layer: the layer that has no input left, as `failing_layer` names it.
    sizes: {field: the least size} for the fields that are too small.
  """

  layer: str
  sizes: dict[str, int]


def least_input(model: nnx.Module, input_shape: Sequence[int], fields: Sequence[str]) -> Limit | None:
  """Which layer refuses an input as too small, and the least size that the model takes.

  Args:
    model: any model. Nothing is computed, so it may be abstract.
    input_shape: of one example, [*spatial, channels].
    fields: the name of the setting of each spatial axis. Axes that share a name have the same size.

  Returns:
    The limit, or None if no layer refuses the input or larger inputs are refused as well.

  >>> from cnn_zoo.models import abstract_model
  >>> least_input(abstract_model("lenet5", in_channels=1), (20, 20, 1), ("height", "width"))
  Limit(layer='layer c5', sizes={'height': 32, 'width': 32})
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
  """The smallest n from `low` to `high` that fits. `high` does."""
  while low < high:
    middle = (low + high) // 2
    low, high = (low, middle) if fits(middle) else (middle + 1, high)
  return low

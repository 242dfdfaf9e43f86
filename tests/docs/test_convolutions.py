"""The guide to the convolutions: its table, pictures, numbers and code."""

import re

import pytest
from flax import nnx

from cnn_zoo import create_convolution, list_convolutions
from cnn_zoo.describe.comparison import compare, relative, to_markdown
from cnn_zoo.errors import UserError
from cnn_zoo.models import abstract_model
from cnn_zoo.plots.diagrams import PICTURES
from tests.helpers import ROOT

DOCS = ROOT / "docs"
GUIDE = (DOCS / "convolutions.md").read_text()
SIZES = {1: (1024,), 2: (32, 32), 3: (4, 16, 16)}  # of the guide's inputs, by rank

CALLS = re.findall(
  r"`(create_convolution\(.*?\))`: ([\d,]+) parameters \(([\d.]+)\), ([\d,]+) multiply-adds \(([\d.]+)\)", GUIDE
)
REPLACEMENTS = re.findall(r"`--config\.model\.convolution=([a-z_]+(?::[\w=+,]*)?)`", GUIDE)


def test_table_and_pictures():
  assert to_markdown(compare()) in GUIDE
  assert sorted(re.findall(r"\(convolutions/(\w+)\.png\)", GUIDE)) == sorted(PICTURES)
  assert {path.stem for path in (DOCS / "convolutions").iterdir()} == set(PICTURES)
  assert "(docs/convolutions.md)" in (ROOT / "README.md").read_text()


def test_covers_every_variant():
  assert {re.match(r'create_convolution\("(\w+)"', call).group(1) for call, *_ in CALLS} == set(list_convolutions())
  assert {value.partition(":")[0] for value in REPLACEMENTS} == set(list_convolutions())


@pytest.mark.parametrize(("call", "parameters", "of_parameters", "multiply_adds", "of_multiply_adds"), CALLS)
def test_numbers(call, parameters, of_parameters, multiply_adds, of_multiply_adds):
  def create(*arguments, **options):
    return create_convolution(*arguments, use_bias=False, rngs=nnx.Rngs(0), **options)

  layer = eval(call, {"create_convolution": create})
  rank = len(re.search(r"\((\d[\d, ]*)\)", call).group(1).strip(", ").split(","))
  costs = layer.parameters(), layer.multiply_adds((1, *SIZES[rank], 64))
  assert (parameters, multiply_adds) == tuple(f"{cost:,}" for cost in costs)
  measure = compare()[0]
  ratios = relative(costs[0], measure.parameters), relative(costs[1], measure.multiply_adds)
  assert (of_parameters, of_multiply_adds) == ratios


@pytest.mark.parametrize("convolution", REPLACEMENTS)
def test_replacements(convolution):
  """Each works in LeNet-5, except a pointwise one, which is refused as the guide says."""
  if convolution == "pointwise":
    with pytest.raises(UserError, match="kernel_size"):
      abstract_model("lenet5", num_classes=10, in_channels=1, convolution=convolution)
  else:
    abstract_model("lenet5", num_classes=10, in_channels=1, convolution=convolution)


def test_code():
  first, second = re.findall(r"```python\n(.*?)```", GUIDE, flags=re.DOTALL)
  names = {}
  exec(first, names)
  assert names["layer"].output_shape((1, 32, 32, 64)) == (1, 32, 32, 64)
  exec(second, names)
  assert names["column"].round(6).tolist() == [[1], [2], [1]] and names["row"].round(6).tolist() == [[-1, 0, 1]]

"""The pictures of the guide to the convolutions, and the guide itself."""

import math
import re
import struct
import subprocess
import sys

import jax
import pytest
from flax import nnx

from cnn_zoo import create_convolution, list_convolutions
from cnn_zoo.describe.comparison import CASES, compare, make, relative, to_markdown
from cnn_zoo.errors import UserError
from cnn_zoo.models import abstract_model
from cnn_zoo.plots.diagrams import DPI, PICTURES, WIDTH, draw_convolutions
from tests.helpers import ROOT

DOCS = ROOT / "docs"
GUIDE = (DOCS / "convolutions.md").read_text()
SIZES = {1: (1024,), 2: (32, 32), 3: (4, 16, 16)}  # of the guide's inputs, by rank

CALLS = re.findall(
  r"`(create_convolution\(.*?\))`: ([\d,]+) parameters \(([\d.]+)\), ([\d,]+) multiply-adds \(([\d.]+)\)", GUIDE
)
REPLACEMENTS = re.findall(r"`--config\.model\.convolution=([a-z_]+(?::[\w=+,]*)?)`", GUIDE)


def size_of_png(path):
  head = path.read_bytes()[:24]
  assert head[:8] == b"\x89PNG\r\n\x1a\n"
  return struct.unpack(">II", head[16:24])


def visualize(*arguments):
  return subprocess.run(
    [sys.executable, ROOT / "scripts" / "visualize.py", *arguments],
    capture_output=True,
    text=True,
    cwd="/",
    check=False,
  )


def test_every_picture(tmp_path):
  out = tmp_path / "new" / "pictures"
  result = visualize("convolutions", f"--out={out}")
  assert result.returncode == 0, result.stderr
  paths, table = result.stdout.split("\n\n")
  assert paths.split("\n") == [str(out / f"{name}.png") for name in PICTURES]
  assert table == to_markdown(compare())
  for name in PICTURES:
    drawn, kept = out / f"{name}.png", DOCS / "convolutions" / f"{name}.png"
    assert size_of_png(drawn) == size_of_png(kept) and size_of_png(drawn)[0] == WIDTH * DPI
    assert max(drawn.stat().st_size, kept.stat().st_size) < 150_000


def test_the_same_bytes_again(tmp_path, monkeypatch):
  for name in set(PICTURES) - {"inverted_bottleneck", "summary"}:
    monkeypatch.delitem(PICTURES, name)
  first, second = (list(draw_convolutions(tmp_path / folder)) for folder in "ab")
  assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second] and len(first) == 2


def test_mistakes(tmp_path):
  (tmp_path / "file").write_text("")
  with pytest.raises(UserError, match=r"^out='.*/file/x' cannot be written: Not a directory; give another --out$"):
    next(draw_convolutions(tmp_path / "file" / "x"))
  for arguments, says in (
    (["convolution"], "error: command='convolution' is not known; did you mean convolutions?\n"),
    (["convolutions", f"--out={tmp_path}/file"], "file' cannot be written: File exists; give another --out\n"),
  ):
    result = visualize(*arguments)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("error: ") and result.stderr.endswith(says) and result.stderr.count("\n") == 1


def test_costs():
  """Counted from the weights' shapes; at stride 1 each weight is used once at each of the 1,024 positions."""
  costs = compare()
  assert costs[0].multiply_adds == 32 * 32 * 3 * 3 * 64 * 128
  for case, cost in zip(CASES, costs, strict=True):
    weights = [leaf.size for leaf in jax.tree.leaves(nnx.state(make(case), nnx.Param))]
    assert cost.parameters == sum(weights)
    assert math.prod(cost.input_shape) == 1024 * 64
    if "stride" not in cost.label:
      assert cost.multiply_adds == 1024 * cost.parameters


@pytest.mark.parametrize(("value", "text"), [(1, "1.00"), (5 / 3, "1.67"), (0.25, "0.25"), (1 / 64, "0.016")])
def test_relative(value, text):
  assert relative(value, 1) == text


def test_guide_table_and_pictures():
  assert to_markdown(compare()) in GUIDE
  assert sorted(re.findall(r"\(convolutions/(\w+)\.png\)", GUIDE)) == sorted(PICTURES)
  assert {path.stem for path in (DOCS / "convolutions").iterdir()} == set(PICTURES)
  assert "(docs/convolutions.md)" in (ROOT / "README.md").read_text()


def test_guide_covers_every_variant():
  assert {re.match(r'create_convolution\("(\w+)"', call).group(1) for call, *_ in CALLS} == set(list_convolutions())
  assert {value.partition(":")[0] for value in REPLACEMENTS} == set(list_convolutions())


@pytest.mark.parametrize(("call", "parameters", "of_parameters", "multiply_adds", "of_multiply_adds"), CALLS)
def test_guide_numbers(call, parameters, of_parameters, multiply_adds, of_multiply_adds):
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
def test_guide_replacements(convolution):
  """Each works in LeNet-5, but a pointwise one, of which the guide says that it is refused."""
  if convolution == "pointwise":
    with pytest.raises(UserError, match="kernel_size"):
      abstract_model("lenet5", num_classes=10, in_channels=1, convolution=convolution)
  else:
    abstract_model("lenet5", num_classes=10, in_channels=1, convolution=convolution)


def test_guide_code():
  first, second = re.findall(r"```python\n(.*?)```", GUIDE, flags=re.DOTALL)
  names = {}
  exec(first, names)
  assert names["layer"].output_shape((1, 32, 32, 64)) == (1, 32, 32, 128)
  exec(second, names)
  assert names["column"].round(6).tolist() == [[1], [2], [1]] and names["row"].round(6).tolist() == [[-1, 0, 1]]

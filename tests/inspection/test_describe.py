import csv
import io
import json
import pathlib
import subprocess
import sys

import jax
import numpy as np
import pytest
from flax import nnx

from cnn_zoo import create_model, describe
from cnn_zoo.convolutions import Convolution
from cnn_zoo.errors import UserError
from cnn_zoo.layers import Linear, global_average_pool
from cnn_zoo.models import abstract_model

SCRIPT = pathlib.Path(__file__).resolve().parents[2] / "scripts" / "describe.py"


class Odd(nnx.Module):
  """A layer that runs twice, one that does not run, one that has no weights and weights of the model's own."""

  def __init__(self, rngs):
    self.shared = Convolution(2, 2, (3,), rngs=rngs)
    self.auxiliary = Linear(2, 7, rngs=rngs)
    self.again = Convolution(2, 4, (1,), use_bias=False, rngs=rngs)
    self.scale = nnx.Param(np.ones(4, np.float32))

  def __call__(self, x):
    return global_average_pool(self.again(self.shared(self.shared(x)))) * self.scale[...]


def tiny():
  return abstract_model("efficientnet_b0", width=0.25, depth=0.1, num_classes=10)


def test_lenet_row_by_row():
  table = describe(abstract_model("lenet5", num_classes=10, in_channels=1), (32, 32, 1))
  assert [(row.path, row.type, row.kernel_size, row.strides, row.output_shape) for row in table.rows] == [
    ("c1", "Convolution", (5, 5), (1, 1), (28, 28, 6)),
    ("c3", "Convolution", (5, 5), (1, 1), (10, 10, 16)),
    ("c5", "Convolution", (5, 5), (1, 1), (1, 1, 120)),
    ("f6", "Linear", None, None, (84,)),
    ("output", "Linear", None, None, (10,)),
  ]
  assert [row.parameters for row in table.rows] == [156, 2416, 48120, 10164, 850]
  assert [row.multiply_adds for row in table.rows] == [28 * 28 * 6 * 25, 10 * 10 * 16 * 150, 120 * 400, 120 * 84, 840]


def test_rows_run_in_order_and_add_up():
  model = tiny()
  table = describe(model, (32, 32, 3))
  paths = [row.path for row in table.rows]
  assert paths[:3] == ["stem", "stem_norm", "blocks.0.depthwise"] and paths[-1] == "classifier"
  norm = table.rows[1]
  assert (norm.type, norm.parameters, norm.multiply_adds, norm.output_shape) == ("BatchNorm", 16, 0, (16, 16, 8))
  assert table.parameters == sum(p.size for p in jax.tree.leaves(nnx.state(model, nnx.Param)))
  assert table.multiply_adds == sum(row.multiply_adds for row in table.rows)


def test_shared_and_unused_layers():
  table = describe(Odd(nnx.Rngs(0)), (6, 2))
  rows = {row.path: row for row in table.rows}
  assert list(rows) == ["shared", "again", "", "auxiliary"]
  assert (rows["shared"].parameters, rows["shared"].multiply_adds) == (14, 2 * 6 * 2 * 6)
  assert (rows["auxiliary"].parameters, rows["auxiliary"].multiply_adds) == (21, 0)
  assert rows["auxiliary"].output_shape is None
  assert (rows[""].type, rows[""].parameters) == ("Odd", 4)


def test_the_model_does_not_change():
  model = create_model("efficientnet_b0", width=0.25, depth=0.1, rngs=nnx.Rngs(0))
  graph, before = nnx.split(model)
  describe(model, (32, 32, 3))
  again, after = nnx.split(model)
  assert graph == again and not model.dropout.deterministic and type(model.stem) is Convolution
  jax.tree.map(
    lambda a, b: (
      np.testing.assert_array_equal(jax.random.key_data(a), jax.random.key_data(b))
      if jax.dtypes.issubdtype(a.dtype, jax.dtypes.prng_key)
      else np.testing.assert_array_equal(a, b)
    ),
    nnx.to_pure_dict(before),
    nnx.to_pure_dict(after),
  )


def test_formats_agree():
  table = describe(tiny(), (32, 32, 3))
  rows = list(csv.DictReader(io.StringIO(table.to_csv())))
  assert [row["path"] for row in rows] == [row.path for row in table.rows]
  assert sum(int(row["parameters"]) for row in rows) == table.parameters
  assert rows[0]["kernel_size"] == "3x3" and rows[0]["output_shape"] == "16x16x8"

  loaded = json.loads(table.to_json())
  assert (loaded["parameters"], loaded["multiply_adds"]) == (table.parameters, table.multiply_adds)
  assert loaded["layers"][0]["output_shape"] == [16, 16, 8] and len(loaded["layers"]) == len(rows)

  lines = table.to_markdown().splitlines()
  assert len(lines) == len(rows) + 3 and {line.count("|") for line in lines} == {8}
  assert f"{table.parameters:,}" in lines[-1]

  text = str(table).splitlines()
  assert f"{table.multiply_adds:,}" in text[-1] and "32x32x3" in text[0]
  assert len({len(line) for line in text[2:]}) == 1


@pytest.mark.parametrize("shape", [(28, 28, 3), (32, 32, 1), (32, 32), (), (0, 32, 3)])
def test_an_input_that_does_not_fit_is_refused(shape):
  with pytest.raises(UserError):
    describe(abstract_model("lenet5"), shape)


def run(*arguments):
  return subprocess.run([sys.executable, SCRIPT, *arguments], capture_output=True, text=True, cwd="/", check=False)


def test_script():
  result = run("--model=lenet5", "--format=csv")
  assert result.returncode == 0, result.stderr
  assert sum(int(row["parameters"]) for row in csv.DictReader(io.StringIO(result.stdout))) == 61_706
  result = run("--model=efficientnet_b1", "--num_classes=10", "--input=64x48x1", "--format=json")
  assert result.returncode == 0, result.stderr
  table = json.loads(result.stdout)
  assert table["input_shape"] == [64, 48, 1] and table["layers"][-1]["output_shape"] == [10]


@pytest.mark.parametrize(
  ("arguments", "message"),
  [
    ([], "give a model, --model=NAME; valid: efficientnet_b0"),
    (["--model=lenet5", "--input=32x0x1"], "input='32x0x1' must be HEIGHTxWIDTHxCHANNELS"),
  ],
)
def test_script_mistakes(arguments, message):
  result = run(*arguments)
  assert result.returncode == 2 and result.stdout == ""
  assert result.stderr.startswith("error: ") and result.stderr.count("\n") == 1 and message in result.stderr

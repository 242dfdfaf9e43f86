"""The table of a model's layers."""

import csv
import io
import json

import jax
import numpy as np
import pytest
from flax import nnx

from cnn_zoo import create_model, describe
from cnn_zoo.convolutions import Convolution
from cnn_zoo.errors import UserError
from cnn_zoo.layers import ConvNorm, Linear, global_average_pool
from cnn_zoo.models import abstract_model, published_setting


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


def lines(table, rows="layers"):
  return [
    (row.path, row.type, row.kernel_size, row.strides, row.output_shape, row.depth, row.receptive_field)
    for row in getattr(table, rows)
  ]


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


def test_lenet_with_its_pooling():
  table = describe(abstract_model("lenet5", num_classes=10, in_channels=1), (32, 32, 1))
  assert lines(table) == [
    ("c1", "Convolution", (5, 5), (1, 1), (28, 28, 6), 1, (5, 5)),
    ("average_pool", "average_pool", (2, 2), (2, 2), (14, 14, 6), 0, (6, 6)),
    ("c3", "Convolution", (5, 5), (1, 1), (10, 10, 16), 1, (14, 14)),
    ("average_pool_2", "average_pool", (2, 2), (2, 2), (5, 5, 16), 0, (16, 16)),
    ("c5", "Convolution", (5, 5), (1, 1), (1, 1, 120), 1, (32, 32)),
    ("global_average_pool", "global_average_pool", (1, 1), (1, 1), (120,), 0, (32, 32)),
    ("f6", "Linear", None, None, (84,), 1, (32, 32)),
    ("output", "Linear", None, None, (10,), 1, (32, 32)),
  ]
  assert [row.activation_bytes for row in table.layers] == [
    4 * n for n in (28 * 28 * 6, 14 * 14 * 6, 1600, 400, 120, 120, 84, 10)
  ]
  assert table.depth == 5 and not table.gated
  assert table.activation_bytes == sum(row.activation_bytes for row in table.layers)


def test_pooling_of_many_kinds():
  table = describe(abstract_model("xception", middle_blocks=0), (299, 299, 3))
  pools = [line for line in lines(table) if line[1] in ("max_pool", "global_average_pool")]
  assert [line[:5] for line in pools] == [
    ("blocks.0.max_pool", "max_pool", (3, 3), (2, 2), (74, 74, 128)),
    ("blocks.1.max_pool", "max_pool", (3, 3), (2, 2), (37, 37, 256)),
    ("blocks.2.max_pool", "max_pool", (3, 3), (2, 2), (19, 19, 728)),
    ("blocks.3.max_pool", "max_pool", (3, 3), (2, 2), (10, 10, 1024)),
    ("global_average_pool", "global_average_pool", (10, 10), (1, 1), (2048,)),
  ]
  head = describe(abstract_model("alexnet", hidden_features=8), (255, 192, 3)).layers[-4]  # from 7 x 5 cells to 6 x 6
  assert (head.path, head.output_shape) == ("head.adaptive_average_pool", (6, 6, 256))
  assert (head.kernel_size, head.strides) == ((2, 2), None)  # of 5 elements cell 1 has the first two
  even = describe(abstract_model("lenet_maxpool", in_channels=1), (44, 44, 1)).layers[-3]  # from 8 x 8 to 4 x 4
  assert (even.type, even.kernel_size, even.strides) == ("adaptive_average_pool", (2, 2), (2, 2))


def test_stages():
  table = describe(abstract_model("resnet50"), (224, 224, 3))
  assert lines(table, "stages") == [
    ("stem", "ConvNorm", (7, 7), (2, 2), (112, 112, 64), 1, (7, 7)),
    ("max_pool", "max_pool", (3, 3), (2, 2), (56, 56, 64), 0, (11, 11)),
    ("stages.0.0-2", "3 x Bottleneck", (3, 3), (1, 1), (56, 56, 256), 9, (35, 35)),
    ("stages.1.0-3", "4 x Bottleneck", (3, 3), (2, 2), (28, 28, 512), 12, (91, 91)),
    ("stages.2.0-5", "6 x Bottleneck", (3, 3), (2, 2), (14, 14, 1024), 18, (267, 267)),
    ("stages.3.0-2", "3 x Bottleneck", (3, 3), (2, 2), (7, 7, 2048), 9, (427, 427)),
    ("global_average_pool", "global_average_pool", (7, 7), (1, 1), (2048,), 0, (619, 619)),
    ("classifier", "Linear", None, None, (1000,), 1, (619, 619)),
  ]
  assert table.depth == 50  # along the longest path; projections, which are not on it, are not among the 50 layers
  for total in ("parameters", "multiply_adds", "activation_bytes"):
    assert sum(getattr(row, total) for row in table.stages) == getattr(table, total)


def test_depth_is_that_of_the_longest_branch():
  table = describe(abstract_model("googlenet_paper", aux_heads=True), (224, 224, 3))
  rows = {row.path: row for row in table.stages}
  assert table.depth == 22 and rows["blocks.0"].depth == 2 and rows["blocks.2-4"].depth == 6
  assert rows["auxiliary.1.classifier"].output_shape is None and rows["auxiliary.1.classifier"].receptive_field is None
  assert rows["auxiliary.1.classifier"].parameters == 1_025_000
  assert {name: describe(abstract_model(name), (224, 224, 3)).depth for name in ("vgg19", "densenet121")} == {
    "vgg19": 19,
    "densenet121": 121,
  }


def test_activations_are_of_the_compute_dtype():
  wide, narrow = (
    describe(abstract_model("vgg11", hidden_features=8, dtype=d), (64, 64, 3)) for d in ("float32", "bfloat16")
  )
  assert narrow.layers[0].activation_bytes == 64 * 64 * 64 * 2 == wide.layers[0].activation_bytes // 2
  assert [row.receptive_field for row in wide.layers] == [row.receptive_field for row in narrow.layers]


@pytest.mark.parametrize("name", ["efficientnet_b0", "densenet121", "convnext_tiny"])
def test_rematerialisation_changes_nothing(name):
  plain, remat = (describe(abstract_model(name, remat=remat), (64, 64, 3)) for remat in (False, True))
  assert plain == remat and plain.gated == (name == "efficientnet_b0")


FAMILIES = (
  "alexnet_two_towers",
  "convnext_tiny",
  "densenet121",
  "efficientnet_b0",
  "efficientnet_v2_s",
  "googlenet",
  "lenet_maxpool",
  "mobilenet_v1",
  "mobilenet_v2",
  "plain18",
  "resnet50",
  "resnetv2_18",
  "vgg11_bn",
  "xception",
  "zfnet",
)


@pytest.mark.parametrize("name", FAMILIES)
def test_families(name):
  """Its stages cover the whole model, and the receptive field grows from row to row."""
  setting = published_setting(name)
  model = abstract_model(name, in_channels=setting.input_shape[-1], num_classes=setting.num_classes)
  table = describe(model, setting.input_shape)
  assert table.parameters == sum(p.size for p in jax.tree.leaves(nnx.state(model, nnx.Param)))
  assert sum(row.parameters for row in table.stages) == table.parameters
  assert sum(row.depth for row in table.stages) == table.depth
  fields = [row.receptive_field for row in table.stages]
  assert fields == sorted(fields) and fields[-1][0] >= setting.input_shape[0] - 32


def test_rows_run_in_order_and_add_up():
  model = tiny()
  table = describe(model, (32, 32, 3))
  paths = [row.path for row in table.rows]
  assert paths[:3] == ["stem.conv", "stem.norm", "blocks.0.depthwise.conv"] and paths[-1] == "classifier"
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


class Loop(nnx.Module):
  """A convolution in a loop."""

  def __init__(self, rngs):
    self.conv = Convolution(2, 2, (3,), rngs=rngs)

  def __call__(self, x):
    return jax.lax.fori_loop(0, 4, lambda _, y: self.conv(y), x)


def test_a_layer_in_a_loop_has_costs_but_no_field():
  table = describe(Loop(nnx.Rngs(0)), (6, 2))
  assert (table.parameters, table.multiply_adds, table.rows[0].output_shape) == (14, 6 * 2 * 6, (6, 2))
  assert table.rows[0].receptive_field is None and "conv" in str(table)


def test_the_model_does_not_change():
  model = create_model("efficientnet_b0", width=0.25, depth=0.1, rngs=nnx.Rngs(0))
  graph, before = nnx.split(model)
  describe(model, (32, 32, 3))
  again, after = nnx.split(model)
  assert graph == again and not model.dropout.deterministic and type(model.stem) is ConvNorm
  jax.tree.map(
    lambda a, b: (
      np.testing.assert_array_equal(jax.random.key_data(a), jax.random.key_data(b))
      if jax.dtypes.issubdtype(a.dtype, jax.dtypes.prng_key)
      else np.testing.assert_array_equal(a, b)
    ),
    nnx.to_pure_dict(before),
    nnx.to_pure_dict(after),
  )


@pytest.mark.parametrize("rows", ["layers", "stages"])
def test_formats_agree(rows):
  table = describe(tiny(), (32, 32, 3))
  ours = getattr(table, rows)
  parsed = list(csv.DictReader(io.StringIO(table.to_csv(rows))))
  assert [row["path"] for row in parsed] == [row.path for row in ours]
  for total in ("parameters", "multiply_adds", "activation_bytes"):
    assert sum(int(row[total]) for row in parsed) == getattr(table, total)
  assert parsed[0]["kernel_size"] == parsed[0]["receptive_field"] == "3x3"
  assert (parsed[0]["output_shape"], parsed[0]["depth"]) == ("16x16x8", "1")

  loaded = json.loads(table.to_json(rows))
  assert (loaded["parameters"], loaded["multiply_adds"]) == (table.parameters, table.multiply_adds)
  assert (loaded["depth"], loaded["gated"], loaded["input_shape"]) == (table.depth, True, [32, 32, 3])
  assert loaded[rows][0]["output_shape"] == [16, 16, 8] and len(loaded[rows]) == len(parsed)

  lines = table.to_markdown(rows).splitlines()
  assert len(lines) == len(parsed) + 3 and {line.count("|") for line in lines} == {11}
  assert f"{table.parameters:,}" in lines[-1]

  text = table.to_text(rows).splitlines()
  assert f"{table.multiply_adds:,}" in text[-1] and "32x32x3" in text[0] and "gates" in text[0]
  assert len({len(line) for line in text[2:]}) == 1


def test_text_is_the_layers():
  table = describe(tiny(), (32, 32, 3))
  assert str(table) == table.to_text("layers")
  with pytest.raises(UserError, match="rows='stage' is not known; did you mean stages"):
    table.to_text("stage")


@pytest.mark.parametrize("shape", [(28, 28, 3), (32, 32, 1), (32, 32), (), (0, 32, 3)])
def test_an_input_that_does_not_fit_is_refused(shape):
  with pytest.raises(UserError):
    describe(abstract_model("lenet5"), shape)

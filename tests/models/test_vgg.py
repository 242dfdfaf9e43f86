import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from cnn_zoo import create_model, describe
from cnn_zoo.errors import UserError
from cnn_zoo.models import abstract_model
from cnn_zoo.models.vgg import Stage
from tests.helpers import golden
from tests.helpers.members import FULLY_CONNECTED, VGG, Member, ranks
from tests.helpers.model_checks import evaluated, images, traced_shape

MEMBERS = {
  "vgg11": Member(ranks(32, 64), FULLY_CONNECTED, tables=VGG),
  "vgg11_bn": Member(ranks(32, 64), FULLY_CONNECTED, tables=VGG),
}
FEATURES = {
  "VGG": "stage1 2, stage2 4, stage3 8, stage4 16, stage5 32",
}

TINY = {"num_classes": 5, "hidden_features": 16}
# Table 1, columns A, B, D and E, as it is printed.
TABLE_1 = {
  11: "64 M 128 M 256 256 M 512 512 M 512 512 M",
  13: "64 64 M 128 128 M 256 256 M 512 512 M 512 512 M",
  16: "64 64 M 128 128 M 256 256 256 M 512 512 512 M 512 512 512 M",
  19: "64 64 M 128 128 M 256 256 256 256 M 512 512 512 512 M 512 512 512 512 M",
}


@pytest.mark.parametrize("depth", TABLE_1)
@pytest.mark.parametrize("suffix", ["", "_bn"])
def test_table_1(depth, suffix):
  table = describe(abstract_model(f"vgg{depth}{suffix}"), (224, 224, 3))
  expected, size = [], 224
  for entry in TABLE_1[depth].split():
    if entry == "M":
      size //= 2
    else:
      expected.append((size, size, int(entry)))
  rows = [row for row in table.rows if row.type == "Convolution"]
  assert [row.output_shape for row in rows] == expected
  assert {row.kernel_size for row in rows} == {(3, 3)} and {row.strides for row in rows} == {(1, 1)}
  linear = [row for row in table.rows if row.type == "Linear"]
  assert [row.parameters for row in linear] == [25_088 * 4096 + 4096, 4096 * 4096 + 4096, 4096 * 1000 + 1000]
  assert len(rows) + len(linear) == depth
  assert len(table.rows) == depth + len(rows) * (suffix == "_bn")


@pytest.mark.parametrize(("depth", "millions"), [(11, 133), (13, 133), (16, 138), (19, 144)])
def test_table_2(depth, millions):
  assert round(describe(abstract_model(f"vgg{depth}"), (224, 224, 3)).parameters / 1e6) == millions


def test_initial_values():
  model = create_model("vgg11_bn", hidden_features=64, rngs=nnx.Rngs(0))
  convolution = model.stages[4].units[1].conv
  assert np.std(convolution.kernel[...]) == pytest.approx(np.sqrt(2 / (9 * 512)), rel=0.01)
  for layer in (*model.head.hidden, model.head.classifier):
    assert np.std(layer.kernel[...]) == pytest.approx(0.01, rel=0.03)
    assert not np.any(layer.bias[...])


def test_dropout_comes_after_the_hidden_layers():
  head = abstract_model("vgg16").head
  assert [dropout.rate for dropout in head.dropouts] == [0.5, 0.5] and not head.dropout_first
  assert [dropout.rate for dropout in abstract_model("vgg16", dropout_rate=0.25).head.dropouts] == [0.25, 0.25]


def test_a_stage_in_numpy():
  stage = Stage(2, 3, 2, batch_norm=False, rngs=nnx.Rngs(0))
  y = np.asarray(images(7, 6, batch=2, channels=2), np.float64)
  for conv in (unit.conv for unit in stage.units):
    conv.bias.set_value(jax.random.normal(jax.random.key(3), (3,)))
    patches = np.lib.stride_tricks.sliding_window_view(np.pad(y, [(0, 0), (1, 1), (1, 1), (0, 0)]), (3, 3), (1, 2))
    y = np.einsum("nhwcij,ijco->nhwo", patches, np.asarray(conv.kernel[...], np.float64)) + np.asarray(conv.bias[...])
    y = np.maximum(y, 0)
  y = y[:, :6].reshape(2, 3, 2, 3, 2, 3).max((2, 4))  # the seventh row is left out
  np.testing.assert_allclose(stage(images(7, 6, batch=2, channels=2)), y, rtol=1e-4, atol=1e-5)


def test_another_size_and_one_channel():
  model = create_model("vgg11_bn", in_channels=1, rngs=nnx.Rngs(0), **TINY)
  logits = evaluated(model, images(33, 47, batch=2, channels=1))
  assert logits.shape == (2, 5) and logits.dtype == jnp.float32
  assert np.isfinite(logits).all() and np.ptp(logits, 0).min() > 0


@pytest.mark.parametrize("sizes", [(224,), (32, 33, 40)])
def test_other_ranks(sizes):
  assert traced_shape("vgg13_bn", 2, *sizes, 2, rank=len(sizes), **TINY) == (2, 5)


def test_too_small():
  with pytest.raises(UserError, match="is too small for a pooling window"):
    traced_shape("vgg11", 1, 31, 31, 3, **TINY)


def _shifted(model):
  model.stages[2].units[1].conv.padding = ((2, 0), (1, 1))


def _another_activation(model):
  model.stages[3].units[0].activation = jnp.abs


def _larger_epsilon(model):
  for stage in model.stages:
    for unit in stage.units:
      unit.norm.epsilon = 1e-3


@pytest.mark.parametrize(
  ("name", "alter"),
  [("vgg11", _shifted), ("vgg11", _another_activation), ("vgg16_bn", _larger_epsilon)],
  ids=lambda value: getattr(value, "__name__", value),
)
def test_golden_logits_notice(name, alter):
  assert golden.error(name, alter) > 2e-4

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from cnn_zoo import create_model, describe
from cnn_zoo.convolutions import Convolution
from cnn_zoo.errors import UserError
from cnn_zoo.models import abstract_model
from tests.helpers.members import Member, ranks
from tests.helpers.model_checks import check_gradients, evaluated, images

MEMBERS = {
  "unet": Member(ranks(12), {"features": 4, "depth": 2}),
}
FEATURES = {
  "UNet": "down1 1, down2 2, down3 4, down4 8, lowest 16, up4 8, up3 4, up2 2, up1 1",
}

PAPERS = {"in_channels": 1, "num_classes": 2, "batch_norm": False}
SMALL = {"in_channels": 2, "num_classes": 5, "features": 6, "depth": 2}


def test_figure_1():
  """23 convolutional layers (section 2), of which the four up-convolutions halve the channels."""
  table = describe(abstract_model("unet", **PAPERS), (576, 576, 1))
  rows = {row.path: row for row in table.rows}
  down = [(64, 576), (128, 288), (256, 144), (512, 72)]
  assert [rows[f"contracting.{i}.conv2.conv"].output_shape for i in range(4)] == [(n, n, c) for c, n in down]
  assert rows["lowest.conv2.conv"].output_shape == (36, 36, 1024)
  for level, (channels, size) in enumerate(reversed(down)):
    enlarged, first = rows[f"enlargements.{level}"], rows[f"expanding.{level}.conv1.conv"]
    assert (enlarged.kernel_size, enlarged.strides, enlarged.output_shape) == ((2, 2), (2, 2), (size, size, channels))
    assert first.parameters == 9 * 2 * channels * channels + channels  # the skip too
    assert rows[f"expanding.{level}.conv2.conv"].output_shape == (size, size, channels)
  assert rows["classifier"].output_shape == (576, 576, 2) and rows["classifier"].kernel_size == (1, 1)
  assert len(rows) == table.depth == 23
  assert [row.type for row in table.layers].count("max_pool") == 4


def test_parameters():
  def conv(area, inputs, outputs):
    return area * inputs * outputs + outputs

  total, inputs = 0, 1
  for features in (64, 128, 256, 512, 1024):
    total += conv(9, inputs, features) + conv(9, features, features)
    inputs = features
  for features in (512, 256, 128, 64):
    total += conv(4, 2 * features, features) + conv(9, 2 * features, features) + conv(9, features, features)
  total += conv(1, 64, 2)
  assert total == 31_030_658
  wider = sum((9 - 4) * 2 * features**2 for features in (512, 256, 128, 64))  # 3 x 3 convolutions instead of 2 x 2
  for upsampling, expected in (("transposed", total), ("nearest", total + wider), ("bilinear", total + wider)):
    assert describe(abstract_model("unet", upsampling=upsampling, **PAPERS), (64, 64, 1)).parameters == expected
  normalized = describe(abstract_model("unet", in_channels=1, num_classes=2), (64, 64, 1)).parameters
  biases = 2 * (1024 + 2 * (512 + 256 + 128 + 64))  # of the 3 x 3 convolutions, each in exchange for scale and shift
  assert normalized == total + biases


@pytest.mark.parametrize("sizes", [(64, 64), (33, 47), (1, 1), (17,), (572, 573), (5, 18, 9)], ids=str)
@pytest.mark.parametrize("upsampling", ["transposed", "bilinear", "nearest"])
def test_the_output_has_the_inputs_size(sizes, upsampling):
  model = abstract_model(
    "unet", in_channels=2, num_classes=7, rank=len(sizes), upsampling=upsampling, dtype=jnp.bfloat16
  )
  model.eval()
  graph, state = nnx.split(model)
  x = jax.ShapeDtypeStruct((2, *sizes, 2), jnp.float32)
  logits = jax.eval_shape(lambda state, x: nnx.merge(graph, state)(x), state, x)
  assert logits.shape == (2, *sizes, 7) and logits.dtype == jnp.float32


def test_dilation_widens_what_the_lowest_level_sees():
  """On a map that is four times smaller each of two 3 x 3 convolutions sees 4 pixels further, times the dilation."""

  def table(dilation):
    return describe(abstract_model("unet", dilation=dilation, **SMALL), (64, 64, 2))

  tables = {dilation: table(dilation) for dilation in (1, 2, 4)}
  assert len({t.parameters for t in tables.values()}) == len({t.multiply_adds for t in tables.values()}) == 1
  fields = {}
  for dilation, t in tables.items():
    rows = {row.path: row for row in t.rows}
    fields[dilation] = rows["lowest.conv2.conv"].receptive_field[0]
    assert rows["lowest.conv2.conv"].output_shape == (16, 16, 24)
    assert rows["contracting.1.conv2.conv"].receptive_field == (14, 14)  # nothing else is dilated
  before = 16  # of the second pooling
  assert fields == {dilation: before + 2 * 2 * 4 * dilation for dilation in (1, 2, 4)}


@pytest.mark.parametrize("upsampling", ["transposed", "bilinear", "nearest"])
def test_maps_lie_on_one_another(upsampling):
  """An input that is moved by the stride moves its logits by as much, where they see no border."""
  model = create_model("unet", rank=1, upsampling=upsampling, rngs=nnx.Rngs(0), **SMALL)
  x = images(164, batch=1, channels=2)
  first, moved = evaluated(model, x[:, :160]), evaluated(model, x[:, 4:])
  np.testing.assert_allclose(moved[:, 60:96], first[:, 64:100], atol=1e-5)
  assert np.std(first[:, 64:100]) > 0.05


def test_what_is_cut_off_is_what_was_padded():
  model = create_model("unet", rngs=nnx.Rngs(0), **SMALL)
  x = images(9, 14, batch=1, channels=2)
  padded = jnp.pad(x, [(0, 0), (0, 3), (0, 2), (0, 0)])
  np.testing.assert_allclose(evaluated(model, x), evaluated(model, padded)[:, :9, :14], atol=1e-5)


def test_each_skip_reaches_the_level_of_its_size():
  """Without what comes from below, the logits depend on the first level alone, at their own place."""
  model = create_model("unet", rngs=nnx.Rngs(0), **SMALL | {"batch_norm": False})
  below = model.enlargements[1]
  below.kernel.set_value(jnp.zeros(below.kernel.shape))
  x = images(16, 16, batch=1, channels=2)
  changed = np.abs(evaluated(model, x.at[0, 8, 5].add(1.0)) - evaluated(model, x)).max((0, 3)) > 1e-6
  places = np.argwhere(changed)
  assert places.min(0).tolist() == [4, 1] and places.max(0).tolist() == [12, 9]  # four convolutions of 3 x 3


def test_initial_values():
  """Section 3: a deviation of sqrt(2 / N) for N inputs of a unit."""
  model = create_model("unet", num_classes=2, features=16, depth=2, batch_norm=False, rngs=nnx.Rngs(0))
  for _, layer in nnx.iter_modules(model):
    if isinstance(layer, Convolution) and layer.kernel.size > 2000:
      inputs = np.prod(layer.kernel_size) * layer.in_features
      assert np.std(layer.kernel[...]) == pytest.approx((2 / inputs) ** 0.5, rel=0.05)
  assert np.std(model.enlargements[0].kernel[...]) == pytest.approx((2 / 64) ** 0.5, rel=0.05)


@pytest.mark.parametrize(
  ("options", "sizes"),
  [
    ({"upsampling": "nearest", "batch_norm": False, "dilation": 2}, (18, 15)),
    ({"dropout_rate": 0.3}, (30,)),
  ],
  ids=str,
)
def test_training(options, sizes):
  options = SMALL | {"rank": len(sizes)} | options
  models = [create_model("unet", remat=remat, rngs=nnx.Rngs(0), **options) for remat in (False, True)]
  check_gradients(models, images(*sizes, channels=2), (4, *sizes, 5))


@pytest.mark.parametrize("convolution", ["depthwise_separable", "dilated:keep=enlargements"])
def test_other_convolutions(convolution):
  own = describe(abstract_model("unet", upsampling="nearest", **SMALL), (20, 20, 2))
  other = describe(abstract_model("unet", upsampling="nearest", convolution=convolution, **SMALL), (20, 20, 2))
  assert other.rows[-1].output_shape == own.rows[-1].output_shape == (20, 20, 5)
  assert (other.parameters < own.parameters) == (convolution == "depthwise_separable")


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"upsampling": "resize"}, "upsampling='resize' is not known; valid: bilinear, nearest, transposed"),
    ({"depth": 0}, "depth=0 must be at least 1"),
    ({"dilation": 0}, "dilation=0 must be at least 1"),
    ({"features": 0}, "out_features=0 must be at least 1"),
    ({"widht": 2}, "model unet has no option 'widht'"),
  ],
)
def test_mistakes(options, message):
  with pytest.raises(UserError, match=message) as error:
    abstract_model("unet", **options)
  assert "\n" not in str(error.value)

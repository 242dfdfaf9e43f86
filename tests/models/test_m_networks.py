import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from cnn_zoo import create_model, describe
from cnn_zoo.convolutions import Convolution
from cnn_zoo.errors import UserError
from cnn_zoo.layers import BatchNorm
from cnn_zoo.models import abstract_model
from cnn_zoo.models.m_networks import Column, ResidualBlock, unit
from tests.helpers.members import Member
from tests.helpers.model_checks import evaluated, images, traced_shape

MEMBERS = {
  "m5": Member({1: 400}),
  "m34_res": Member({1: 400}, fixed={"m34_res": {"column": Column(8, ((8, 1), (12, 2)), residual=True)}}),
}
FEATURES = {
  "MNetwork": "stem 16, stage1 64, stage2 256, stage3 1024, stage4 1024",
}

# The columns of Table 1, as they are printed: channels of each convolution, and max-pooling.
COLUMNS = {
  "m3": "256 M 256 M",
  "m5": "128 M 128 M 256 M 512 M",
  "m11": "64 M 64 64 M 128 128 M 256 256 256 M 512 512",
  "m18": "64 M 64 64 64 64 M 128 128 128 128 M 256 256 256 256 M 512 512 512 512",
  "m34_res": f"48 M {'48 ' * 6}M {'96 ' * 8}M {'192 ' * 12}M {'384 ' * 6}",
}
POOLED = (2000, 500, 125, 32)  # the sizes after max-pooling
WAVEFORM = (32_000, 1)


@pytest.fixture(scope="module")
def tables():
  return {name: describe(abstract_model(name, num_classes=10, in_channels=1), WAVEFORM) for name in COLUMNS}


@pytest.mark.parametrize("name", COLUMNS)
def test_table_1(tables, name):
  expected, size, pools = [], 8000, iter(POOLED)
  for entry in COLUMNS[name].split():
    size = next(pools) if entry == "M" else size
    expected.append(("max_pool", size) if entry == "M" else ("Convolution", size, int(entry)))
  kinds = {"Convolution": 2, "max_pool": 1}
  rows = [row for row in tables[name].layers if row.type in kinds]
  assert [(row.type, *row.output_shape[: kinds[row.type]]) for row in rows] == expected
  stem, *others = (row for row in rows if row.type == "Convolution")
  assert (stem.kernel_size, stem.strides, stem.receptive_field) == ((80,), (4,), (80,))
  assert {(row.kernel_size, row.strides) for row in others} == {((3,), (1,))}
  assert {(row.kernel_size, row.strides) for row in rows if row.type == "max_pool"} == {((4,), (4,))}
  pooled, classifier = tables[name].layers[-2:]
  assert (pooled.type, classifier.type) == ("global_average_pool", "Linear")
  assert classifier.parameters == (pooled.output_shape[0] + 1) * 10


@pytest.mark.parametrize(("name", "layers"), [("m3", 3), ("m5", 5), ("m11", 11), ("m18", 18), ("m34_res", 34)])
def test_layers_with_weights(tables, name, layers):
  assert tables[name].depth == layers
  normalised = layers - 1 + 16 * (name == "m34_res")  # figure 1b: once more after each sum
  assert sum(row.type == "BatchNorm" for row in tables[name].layers) == normalised


@pytest.mark.parametrize(("name", "millions"), [("m3", 0.2), ("m11", 1.8), ("m18", 3.7), ("m34_res", 4.0)])
def test_parameters_of_table_1(tables, name, millions):
  assert round(tables[name].parameters / 1e6, 1) == millions


def test_parameters_of_m5(tables):
  """The table's 0.5M is not rounded: the convolutions that it lists have 0.55M already."""
  convolutions = 80 * 128 + 3 * (128 * 128 + 128 * 256 + 256 * 512)
  assert tables["m5"].parameters == convolutions + 2 * (128 + 128 + 256 + 512) + 512 * 10 + 10 == 558_090
  assert np.floor(tables["m5"].parameters / 1e5) / 10 == 0.5


def test_projections_would_be_more_than_the_parameters_of_table_1(tables):
  widths = [(48, 96), (96, 192), (192, 384)]
  projections = sum(inputs * channels + 2 * channels for inputs, channels in widths)
  assert round((tables["m34_res"].parameters + projections) / 1e6, 1) == 4.1


def test_initial_values():
  model = create_model("m11", in_channels=1, num_classes=10, rngs=nnx.Rngs(0))
  convolutions = [module for _, module in nnx.iter_modules(model) if isinstance(module, Convolution)]
  assert len(convolutions) == 10 and all(layer.bias is None for layer in convolutions)
  for layer in convolutions:
    limit = np.sqrt(6 / (layer.kernel_size[0] * (layer.in_features + layer.out_features)))
    assert 0.98 * limit < np.abs(layer.kernel[...]).max() <= limit
  assert 0.98 * np.sqrt(6 / 522) < np.abs(model.classifier.kernel[...]).max() <= np.sqrt(6 / 522)
  assert not np.any(model.classifier.bias[...])


def randomized(block):
  """`block` in evaluation, with numbers in its normalisations that are not those at the start."""
  for index, norm in enumerate(module for _, module in nnx.iter_modules(block) if isinstance(module, BatchNorm)):
    keys = jax.random.split(jax.random.key(index), 4)
    for key, variable in zip(keys, (norm.scale, norm.bias, norm.mean, norm.variance), strict=True):
      variable.set_value(jax.random.uniform(key, (norm.features,), minval=0.5, maxval=1.5))
  block.eval()
  return block


def convolved(x, conv, before, after):
  """x [batch, samples, channels] through `conv`, between so many zeros, in NumPy."""
  patches = np.lib.stride_tricks.sliding_window_view(np.pad(x, [(0, 0), (before, after), (0, 0)]), conv.kernel_size, 1)
  return np.einsum("nsct,tco->nso", patches[:, :: conv.strides[0]], np.asarray(conv.kernel[...], np.float64))


def normalized(x, norm):
  scale, bias, mean, variance = (
    np.asarray(v[...], np.float64) for v in (norm.scale, norm.bias, norm.mean, norm.variance)
  )
  return (x - mean) / np.sqrt(variance + norm.epsilon) * scale + bias


def test_the_first_layer_in_numpy():
  layer = randomized(unit(2, 3, (80,), strides=4, rngs=nnx.Rngs(0)))
  x = np.asarray(images(400, batch=2, channels=2), np.float64)
  y = np.maximum(normalized(convolved(x, layer.conv, 38, 38), layer.norm), 0)
  assert y.shape == (2, 100, 3)
  np.testing.assert_allclose(layer(jnp.asarray(x, jnp.float32)), y, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("in_channels", [3, 5])
def test_a_residual_block_in_numpy(in_channels):
  block = randomized(ResidualBlock(in_channels, 5, rngs=nnx.Rngs(0)))
  x = np.asarray(images(11, batch=2, channels=in_channels), np.float64)
  y = np.maximum(normalized(convolved(x, block.conv1.conv, 1, 1), block.conv1.norm), 0)
  y = normalized(convolved(y, block.conv2.conv, 1, 1), block.conv2.norm)
  y[..., :in_channels] += x
  y = np.maximum(normalized(y, block.sum_norm), 0)
  np.testing.assert_allclose(block(jnp.asarray(x, jnp.float32)), y, rtol=1e-4, atol=1e-5)


def test_bfloat16_and_two_channels():
  x, results = images(1000, batch=3, channels=2), []
  for dtype in (jnp.float32, jnp.bfloat16):
    model = create_model("m5", in_channels=2, num_classes=5, dtype=dtype, rngs=nnx.Rngs(0))
    results.append(evaluated(model, x))
  assert results[1].shape == (3, 5) and results[1].dtype == jnp.float32
  assert np.ptp(results[0], 0).min() > 0
  assert 0 < np.abs(results[0] - results[1]).max() < 0.1 * np.std(results[0])


@pytest.mark.parametrize("name", COLUMNS)
@pytest.mark.parametrize("samples", [1, 999, 16_000])
def test_any_length(name, samples):
  assert traced_shape(name, 2, samples, 1, num_classes=7) == (2, 7)


@pytest.mark.parametrize(
  "convolution", ["dilated", "depthwise_separable", "grouped:groups=2,keep=stem", "inverted_bottleneck"]
)
def test_other_convolutions(convolution):
  model = abstract_model("m34_res", in_channels=2, num_classes=7, convolution=convolution)
  table = describe(model, (8000, 2))
  assert [row.output_shape[0] for row in table.layers if row.type == "max_pool"] == [500, 125, 32, 8]
  assert table.rows[-1].output_shape == (7,)


@pytest.mark.parametrize(
  ("shape", "message"),
  [
    ((1, 0, 1), "is too small for kernel_size=\\(80,\\)"),
    ((1, 100, 100, 1), "expected \\[batch, 1 spatial axes, 1\\]"),
  ],
)
def test_inputs_that_are_no_waveforms(shape, message):
  with pytest.raises(UserError, match=message):
    traced_shape("m11", *shape)

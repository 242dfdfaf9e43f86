import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from cnn_zoo import describe
from cnn_zoo.convolutions import Convolution
from cnn_zoo.errors import UserError
from cnn_zoo.layers import BatchNorm
from cnn_zoo.models import abstract_model, model_options, published_setting
from cnn_zoo.models.video_resnet import NETWORKS, Block, VideoResNet, channels_between
from cnn_zoo.pretrained import conventions
from tests.helpers import golden
from tests.helpers.members import Member, one_block
from tests.helpers.model_checks import evaluated, images, traced_shape

MEMBERS = {
  "r2plus1d_18": Member(
    {3: 16},
    fixed=one_block("r2plus1d_18"),
    tables={"video_resnet.STEM": 8, "video_resnet.CHANNELS": (8, 12, 16, 20)},
  ),
}
FEATURES = {
  "VideoResNet": "conv1 2, conv2 2, conv3 4, conv4 8, conv5 16",
}


@functools.cache
def layers(name):
  """{path: row} for 16 frames of 112 x 112 pixels."""
  table = describe(abstract_model(name, num_classes=400), (16, 112, 112, 3))
  return {row.path: row for row in table.layers}


def tiny(name, **options):
  """A network with one block a stage."""
  defaults = {"num_classes": 5, "in_channels": 3, "layers": (1, 1, 1, 1), "dtype": jnp.float32, "rngs": nnx.Rngs(0)}
  return VideoResNet(kinds=NETWORKS[name], **defaults | options)


# Table 1: the maps of conv1 and conv2_x to conv5_x; MC3's convolutions of 1 x 3 x 3 leave time as it is.
@pytest.mark.parametrize(
  ("name", "frames"),
  [("r3d_18", (16, 16, 8, 4, 2)), ("mc3_18", (16, 16, 16, 16, 16)), ("r2plus1d_18", (16, 16, 8, 4, 2))],
)
def test_table_1(name, frames):
  rows = layers(name)
  assert rows["stem.norm"].output_shape == (16, 56, 56, 64)
  sizes = zip(frames[1:], (56, 28, 14, 7), (64, 128, 256, 512), strict=True)
  for stage, (time, size, channels) in enumerate(sizes):
    for block in range(2):
      for unit in ("conv1", "conv2"):
        assert rows[f"stages.{stage}.{block}.{unit}.norm"].output_shape == (time, size, size, channels)
  assert rows["classifier"].output_shape == (400,)
  assert not any(row.type == "max_pool" for row in rows.values())


@pytest.mark.parametrize(
  ("name", "kernels"),
  [
    ("r3d_18", [(3, 3, 3)] * 4),
    ("mc3_18", [(3, 3, 3), *[(1, 3, 3)] * 3]),
  ],
)
def test_convolutions_of_one_step(name, kernels):
  model = abstract_model(name)
  stem = model.stem.conv
  assert (stem.kernel_size, stem.strides, stem.padding) == ((3, 7, 7), (1, 2, 2), (1, 3, 3))
  for index, (stage, kernel) in enumerate(zip(model.stages, kernels, strict=True)):
    assert [(b.conv1.conv.kernel_size, b.conv2.conv.kernel_size) for b in stage] == [(kernel, kernel)] * 2
    stride = (1, 1, 1) if index == 0 else (2, 2, 2) if kernel[0] == 3 else (1, 2, 2)
    convolutions = (stage[0].conv1.conv, stage[0].conv2.conv, stage[1].conv1.conv)
    assert [conv.strides for conv in convolutions] == [stride, (1,) * 3, (1,) * 3]
    assert stage[1].projection is None and (stage[0].projection is None) == (index == 0)
    assert index == 0 or stage[0].projection.conv.strides == stride


def test_convolutions_of_two_steps():
  """1 x 3 x 3, normalisation and ReLU, 3 x 1 x 1; strides are divided among them."""
  model = abstract_model("r2plus1d_18")
  steps = model.stem.conv.convolutions
  assert [(c.kernel_size, c.strides, c.out_features) for c in steps] == [
    ((1, 7, 7), (1, 2, 2), 45),
    ((3, 1, 1), (1, 1, 1), 64),
  ]
  between = [(144, 144), (230, 288), (460, 576), (921, 1152)]  # of the first and the second block
  for index, (stage, widths) in enumerate(zip(model.stages, between, strict=True)):
    for block, width in zip(stage, widths, strict=True):
      for conv in (block.conv1.conv, block.conv2.conv):
        stride = 2 if index and conv is stage[0].conv1.conv else 1
        assert [c.kernel_size for c in conv.convolutions] == [(1, 3, 3), (3, 1, 1)]
        assert [c.strides for c in conv.convolutions] == [(1, stride, stride), (stride, 1, 1)]
        assert conv.convolutions[0].out_features == conv.norms[0].features == width
        assert conv.norms[1] is None and conv.activations == (jax.nn.relu, None)


@pytest.mark.parametrize(("in_channels", "channels"), [(64, 64), (64, 128), (128, 256), (512, 512), (3, 5)])
def test_two_steps_have_the_weights_of_one(in_channels, channels):
  """The largest number of channels between them with which they have no more (section 3.5)."""
  between = channels_between(in_channels, channels)
  weights = [b * (9 * in_channels + 3 * channels) for b in (between, between + 1)]
  assert weights[0] <= 27 * in_channels * channels < weights[1]


@pytest.mark.parametrize("name", NETWORKS)
def test_the_first_layers_do_not_shrink_time(name):
  paths = [path for path in layers(name) if path.startswith(("stem", "stages.0"))]
  assert {layers(name)[path].output_shape[:3] for path in paths} == {(16, 56, 56)}


@pytest.mark.parametrize("kind", ["3d", "2d", "2+1d"])
def test_order_in_a_block(kind):
  relu, x = jax.nn.relu, images(4, 6, 6, channels=4)
  block = Block(4, 8, 2, kind=kind, rngs=nnx.Rngs(0))
  y = block.conv2.norm(block.conv2.conv(relu(block.conv1.norm(block.conv1.conv(x)))))
  expected = relu(block.projection.norm(block.projection.conv(x)) + y)
  assert expected.shape == (4, 4 if kind == "2d" else 2, 3, 3, 8)
  np.testing.assert_allclose(block(x), expected, atol=1e-6)
  block = Block(4, 4, 1, kind=kind, rngs=nnx.Rngs(0))
  y = block.conv2.norm(block.conv2.conv(relu(block.conv1.norm(block.conv1.conv(x)))))
  np.testing.assert_allclose(block(x), relu(x + y), atol=1e-6)


def test_two_dimensional_stages_see_frames_by_themselves():
  """Behind conv2_x, MC3 mixes frames in the last average alone."""
  block = Block(4, 8, 2, kind="2d", rngs=nnx.Rngs(0))
  block.eval()
  x = images(5, 6, 6, batch=1, channels=4)
  single = jnp.moveaxis(block(jnp.moveaxis(x, 1, 0)), 0, 1)
  np.testing.assert_allclose(block(x), single, atol=1e-5)


@pytest.mark.parametrize("name", NETWORKS)
def test_initial_values(name):
  model = tiny(name, num_classes=200)
  for _, layer in nnx.iter_modules(model):
    if isinstance(layer, Convolution):
      fan_out = layer.out_features * np.prod(layer.kernel_size)
      assert np.var(layer.kernel[...]) == pytest.approx(2 / fan_out, rel=0.06) and layer.bias is None
    elif isinstance(layer, BatchNorm):
      assert (layer.scale[...] == 1).all() and (layer.bias[...] == 0).all() and layer.epsilon == 1e-5
  assert np.std(model.classifier.kernel[...]) == pytest.approx(0.01, rel=0.02) and not np.any(
    model.classifier.bias[...]
  )


def test_zero_init_residual_starts_from_the_shortcuts():
  model = tiny("r2plus1d_18", zero_init_residual=True)
  x = images(4, 4, 4, channels=64)
  np.testing.assert_array_equal(model.stages[0][0](x), jax.nn.relu(x))
  assert all((stage[0].conv2.norm.scale[...] == 0).all() for stage in model.stages)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("shape", [(16, 32, 32, 1), (8, 33, 47, 3), (1, 1, 1, 2)], ids=str)  # nothing is too small
def test_clips_of_other_sizes_and_channels(name, shape):
  assert traced_shape(name, 2, *shape, num_classes=5) == (2, 5)


def test_another_size_runs():
  logits = evaluated(tiny("r2plus1d_18", in_channels=1), images(5, 17, 23, batch=2, channels=1))
  assert logits.dtype == jnp.float32 and np.isfinite(logits).all() and np.ptp(logits, 0).min() > 0


def test_bfloat16_computes_in_bfloat16_and_answers_in_float32():
  graph, state = nnx.split(nnx.eval_shape(lambda: tiny("r2plus1d_18", dtype=jnp.bfloat16)))

  def run(state, x):
    model = nnx.merge(graph, state)
    return model.stages[0][0](model.stem(x.astype(model.dtype))), model(x)

  inner, logits = jax.eval_shape(run, state, jax.ShapeDtypeStruct((2, 4, 16, 16, 3), jnp.float32))
  assert (inner.dtype, logits.dtype) == (jnp.bfloat16, jnp.float32)


def test_published_for_kinetics():
  assert {published_setting(name) for name in NETWORKS} == {((16, 112, 112, 3), 400)}
  assert {conventions.normalization(name, "torchvision") for name in NETWORKS} == {conventions.KINETICS}
  assert model_options("r3d_18") == {"zero_init_residual": False, "remat": False}


def test_mistakes():
  with pytest.raises(
    UserError, match=r"input \(2, 32, 32, 3\) must be clips \[batch, frames, height, width, channels\]"
  ):
    traced_shape("r3d_18", 2, 32, 32, 3)
  with pytest.raises(UserError, match="model r3d_18 has no option 'rank'; valid: remat, zero_init_residual"):
    abstract_model("r3d_18", rank=2)


def _shifted_in_time(model):
  model.stages[0][1].conv1.conv.padding = ((2, 0), (1, 1), (1, 1))


def _strides_of_time_too(model):
  block = model.stages[2][0]
  block.conv1.conv.strides = block.projection.conv.strides = (2, 2, 2)


def _no_activation_between_the_steps(model):
  model.stages[1][1].conv2.conv.activations = (None, None)


@pytest.mark.parametrize(
  ("name", "alter"),
  [
    ("r3d_18", _shifted_in_time),
    ("mc3_18", _strides_of_time_too),
    ("r2plus1d_18", _no_activation_between_the_steps),
  ],
  ids=lambda value: getattr(value, "__name__", value),
)
def test_golden_logits_notice(name, alter):
  assert golden.error(name, alter) > 2e-4

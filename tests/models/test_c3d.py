import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from cnn_zoo import create_model, describe
from cnn_zoo.errors import UserError
from cnn_zoo.models import abstract_model, published_setting
from cnn_zoo.models.c3d import Stage
from tests.helpers.members import Member
from tests.helpers.model_checks import check_training, evaluated, images, traced_shape

MEMBERS = {
  "c3d": Member({3: 16}, {"width": 0.125, "hidden_features": 16}),
}
FEATURES = {
  "C3D": "stage1 2, stage2 4, stage3 8, stage4 16, stage5 32",
}

TINY = {"num_classes": 5, "width": 0.125, "hidden_features": 16}

# Figure 3, as it is printed, with the maps that the layers give of 16 frames of 112 x 112 pixels.
FIGURE_3 = [
  *(("Convolution", (16, 112, 112, 64)), ("max_pool", (16, 56, 56, 64))),
  *(("Convolution", (16, 56, 56, 128)), ("max_pool", (8, 28, 28, 128))),
  *(("Convolution", (8, 28, 28, 256)), ("Convolution", (8, 28, 28, 256)), ("max_pool", (4, 14, 14, 256))),
  *(("Convolution", (4, 14, 14, 512)), ("Convolution", (4, 14, 14, 512)), ("max_pool", (2, 7, 7, 512))),
  *(("Convolution", (2, 7, 7, 512)), ("Convolution", (2, 7, 7, 512)), ("max_pool", (1, 4, 4, 512))),
  *(("Linear", (4096,)), ("Linear", (4096,)), ("Linear", (487,))),
]


def described(shape=(16, 112, 112, 3), **options):
  return describe(abstract_model("c3d", **{"num_classes": 487, "in_channels": shape[-1]} | options), shape)


def test_figure_3():
  table = described()
  assert [(row.type, row.output_shape) for row in table.layers] == FIGURE_3
  convolutions = [row for row in table.rows if row.type == "Convolution"]
  assert {row.kernel_size for row in convolutions} == {(3, 3, 3)} and {row.strides for row in convolutions} == {
    (1,) * 3
  }
  pools = [row for row in table.layers if row.type == "max_pool"]
  assert [row.strides for row in pools] == [row.kernel_size for row in pools] == [(1, 2, 2), *[(2, 2, 2)] * 4]
  assert table.depth == 11


@pytest.mark.parametrize(
  ("num_classes", "view", "parameters"),
  [
    (487, "clip", 79_991_015),  # Sports-1M
    (101, "clip", 78_409_573),  # UCF101
    # Nine taps instead of 27, and 16 times 3 channels in the first layer.
    (101, "frame", 78_409_573 - 18 * (3 * 64 + 64 * 128 + 128 * 256 + 256 * 256 + 256 * 512 + 3 * 512 * 512)),
    (101, "stack", 60_000_037),
  ],
)
def test_parameters(num_classes, view, parameters):
  assert described(num_classes=num_classes, view=view).parameters == parameters


def test_flat_views_drop_the_axis_of_time():
  clip, frame, stack = (described(view=view) for view in ("clip", "frame", "stack"))
  for flat in (frame, stack):
    assert [row.output_shape for row in flat.layers[:-3]] == [
      (*row.output_shape[1:3], row.output_shape[-1]) for row in clip.layers[:-3]
    ]
    assert {row.kernel_size for row in flat.rows[:8]} == {(3, 3)}
    assert [row.parameters for row in flat.rows[8:]] == [row.parameters for row in clip.rows[8:]]
  assert [table.rows[-1].receptive_field[0] for table in (clip, frame, stack)] == [76, 1, 16]
  per_channel = 112 * 112 * 9 * 64
  assert frame.rows[0].multiply_adds == 3 * per_channel and stack.rows[0].multiply_adds == 48 * per_channel


def test_what_each_view_sees():
  """ "frame" the middle one; "stack" and "clip" all of them, in their order."""
  x = images(16, 16, 16, batch=1)
  other_frames = x.at[:, :8].add(1.0).at[:, 9:].add(1.0)
  the_frame = x.at[:, 8].add(1.0)
  swapped = x.at[:, 3].set(x[:, 12]).at[:, 12].set(x[:, 3])
  for view in ("clip", "stack", "frame"):
    model = create_model("c3d", view=view, rngs=nnx.Rngs(0), **TINY)
    logits = evaluated(model, jnp.concatenate([x, other_frames, the_frame, swapped]))
    changed = [bool((logits[0] != other).any()) for other in logits[1:]]
    assert changed == [view != "frame", True, view != "frame"], view


class _Nothing(nnx.Module):
  def __call__(self, x):
    return x


def test_stacked_frames_are_channels():
  """Frame t's channel c is channel t * channels + c of what the first convolution sees."""
  model = create_model("c3d", view="stack", frames=3, in_channels=2, rngs=nnx.Rngs(0), **TINY)
  x = images(3, 8, 9, batch=2, channels=2)
  np.testing.assert_array_equal(model._seen(x), jnp.concatenate([x[:, t] for t in range(3)], axis=-1))


def test_a_stage_in_numpy():
  """Convolutions, and pooling whose last window may reach beyond the map."""
  stage = Stage(2, (3, 3), (1, 2, 2), batch_norm=False, rngs=nnx.Rngs(0))
  y = np.asarray(images(2, 5, 6, batch=2, channels=2), np.float64)
  for conv in (unit.conv for unit in stage.units):
    conv.bias.set_value(jax.random.normal(jax.random.key(3), (3,)))
    padded = np.pad(y, [(0, 0), (1, 1), (1, 1), (1, 1), (0, 0)])
    patches = np.lib.stride_tricks.sliding_window_view(padded, (3, 3, 3), (1, 2, 3))
    kernel, bias = (np.asarray(parameter[...], np.float64) for parameter in (conv.kernel, conv.bias))
    y = np.maximum(np.einsum("nthwcsij,sijco->nthwo", patches, kernel) + bias, 0)
  y = np.pad(y, [(0, 0), (0, 0), (0, 1), (0, 0), (0, 0)]).reshape(2, 2, 3, 2, 3, 2, 3).max((3, 5))
  np.testing.assert_allclose(stage(images(2, 5, 6, batch=2, channels=2)), y, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
  ("sizes", "last"),
  [
    ((16, 32, 32), (1, 1, 1)),
    ((8, 32, 32), (1, 1, 1)),
    ((32, 128, 171), (2, 4, 6)),
    ((1, 1, 1), (1, 1, 1)),  # nothing is too small
  ],
)
def test_clips_of_other_sizes(sizes, last):
  table = described((*sizes, 1), **TINY)
  assert [row.output_shape for row in table.layers if row.type == "max_pool"][-1] == (*last, 64)
  assert table.layers[-1].output_shape == (5,) and table.parameters == described((16, 112, 112, 1), **TINY).parameters


def test_the_last_time_steps_are_averaged():
  model = create_model("c3d", rngs=nnx.Rngs(0), **TINY)
  model.head = _Nothing()
  x = images(3, 4, 4, batch=2, channels=64)
  np.testing.assert_allclose(model.logits(x), (x[:, 0] + x[:, 1] + x[:, 2]) / 3, atol=1e-6)


def test_options():
  table = described(width=0.5, hidden_features=64, batch_norm=True)
  assert [row.output_shape[-1] for row in table.rows if row.type == "Convolution"] == [32, 64, 128, 128, *[256] * 4]
  assert [row.type for row in table.rows[:-3]] == ["Convolution", "BatchNorm"] * 8
  assert [row.output_shape for row in table.rows[-3:]] == [(64,), (64,), (487,)]
  assert [dropout.rate for dropout in abstract_model("c3d").head.dropouts] == [0.5, 0.5]
  assert [dropout.rate for dropout in abstract_model("c3d", dropout_rate=0.25).head.dropouts] == [0.25, 0.25]


def test_initial_values():
  model = create_model("c3d", num_classes=10, width=0.25, hidden_features=256, rngs=nnx.Rngs(0))
  layers = [unit.conv for stage in model.stages for unit in stage.units]
  for layer in (*layers, *model.head.hidden, model.head.classifier):
    fan_in = np.prod(layer.kernel.shape[:-1])
    assert np.std(layer.kernel[...]) == pytest.approx((2 / fan_in) ** 0.5, rel=0.06)
    assert not np.any(layer.bias[...])


def test_bfloat16_computes_in_bfloat16_and_answers_in_float32():
  model = create_model("c3d", dtype=jnp.bfloat16, rngs=nnx.Rngs(0), **TINY)
  assert model.stages[0](images(2, 4, 4, batch=1).astype(jnp.bfloat16)).dtype == jnp.bfloat16
  x = images(8, 16, 16, batch=2)
  logits = evaluated(model, x)
  exact = evaluated(create_model("c3d", rngs=nnx.Rngs(0), **TINY), x)
  assert logits.dtype == jnp.float32 and 0 < np.abs(logits - exact).max() < 0.1 * np.abs(exact).max()


def test_training_of_stacked_frames():
  options = {"view": "stack", "frames": 4, "batch_norm": True}
  check_training("c3d", images(4, 16, 16, batch=2), width=0.125, hidden_features=16, **options)


def test_published_for_sports_1m():
  assert published_setting("c3d") == ((16, 112, 112, 3), 487)


@pytest.mark.parametrize(
  ("shape", "options", "message"),
  [
    ((2, 16, 32, 32, 3), {"view": "flow"}, "view='flow' is not known; valid: clip, frame, stack"),
    ((2, 16, 32, 32, 3), {"view": "stack", "frames": 0}, "frames=0 must be at least 1"),
    ((2, 16, 32, 32, 3), {"width": 0.0}, r"width=0.0 must be above 0"),
    ((2, 8, 32, 32, 3), {"view": "stack"}, r"input \(2, 8, 32, 32, 3\) has clips of 8 frames, .* built for frames=16"),
    ((2, 32, 32, 3), {}, r"input \(2, 32, 32, 3\) must be clips \[batch, frames, height, width, channels\]"),
  ],
)
def test_mistakes(shape, options, message):
  with pytest.raises(UserError, match=message):
    traced_shape("c3d", *shape, **TINY | options)

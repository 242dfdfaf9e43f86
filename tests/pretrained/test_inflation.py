"""2-D weights in 3-D networks: on a clip of a still image these answer as the 2-D network does to the image."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from cnn_zoo.convolutions import Convolution, TransposedConvolution
from cnn_zoo.errors import UserError
from cnn_zoo.layers import BatchNorm
from cnn_zoo.models import abstract_model, create_model
from cnn_zoo.models.resnet import BasicBlock, ResNet
from cnn_zoo.pretrained.inflation import inflatable, inflate, inflate_weights
from tests.helpers.model_checks import evaluated

KERNEL = np.random.default_rng(0).standard_normal((3, 3, 4, 5)).astype(np.float32)
C3D = {"num_classes": 5, "in_channels": 3, "width": 0.125, "hidden_features": 16, "batch_norm": True}


def images(*sizes, channels=3):
  """A batch [2, *sizes, channels] of noise."""
  return jax.random.normal(jax.random.key(1), (2, *sizes, channels))


def trained(model):
  """The model with a number of its own in every bias, scale and statistic, as training leaves them."""
  for index, (_, norm) in enumerate(nnx.iter_modules(model)):
    if isinstance(norm, BatchNorm):
      values = np.random.default_rng(index).uniform(0.5, 1.5, (4, norm.features)).astype(np.float32)
      for variable, value in zip((norm.scale, norm.bias, norm.mean, norm.variance), values, strict=True):
        variable.set_value(jnp.asarray(value))
    elif isinstance(norm, Convolution) and norm.use_bias:
      norm.bias.set_value(jax.random.normal(jax.random.key(index), norm.bias.shape))
  return model


def still(x, frames):
  """A clip of `frames` times the same image: [batch, frames, height, width, channels]."""
  return jnp.repeat(x[:, None], frames, axis=1)


def numbers(model):
  return jax.tree.map(np.asarray, nnx.to_pure_dict(nnx.state(model, (nnx.Param, nnx.BatchStat))))


def test_kernels():
  mean, centre = inflate(KERNEL, (3, 3, 3)), inflate(KERNEL, (3, 3, 3), "centre")
  np.testing.assert_allclose(mean, np.stack([KERNEL / 3] * 3), rtol=1e-6)
  np.testing.assert_array_equal(centre, [0 * KERNEL, KERNEL, 0 * KERNEL])
  assert mean.dtype == centre.dtype == np.float32
  np.testing.assert_array_equal(inflate(KERNEL, (4, 3, 3), "centre"), [0 * KERNEL, KERNEL, 0 * KERNEL, 0 * KERNEL])
  for mode in ("mean", "centre"):
    np.testing.assert_array_equal(inflate(KERNEL, (1, 3, 3), mode), KERNEL[None])


@pytest.mark.parametrize(
  ("time", "options"),
  [(3, {}), (2, {}), (5, {}), (3, {"strides": 2}), (2, {"strides": 2}), (3, {"groups": 2}), (3, {"dilation": 2})],
  ids=str,
)
def test_a_convolution_of_a_still_clip(time, options):
  """By the mean it is exact wherever the kernel reaches no padding, unlike at the end; by the centre tap anywhere."""
  flat = Convolution(4, 6, (3, 3), **options, rngs=nnx.Rngs(0))
  deep = Convolution(4, 6, (time, 3, 3), **options, rngs=nnx.Rngs(1))
  x = images(9, 10, channels=4)
  expected, answers = flat(x), {}
  for mode in ("mean", "centre"):
    deep.kernel.set_value(jnp.asarray(inflate(flat.kernel[...], deep.kernel_size, mode)))
    answers[mode] = deep(still(x, 13))
  np.testing.assert_allclose(answers["centre"], still(expected, answers["centre"].shape[1]), atol=1e-5)
  np.testing.assert_allclose(answers["mean"][:, 2:-2], still(expected, answers["mean"].shape[1] - 4), atol=1e-5)
  assert np.abs(answers["mean"][:, -1] - expected).max() > 0.1


def _resnet(rank):
  return ResNet(
    num_classes=5, in_channels=3, block=BasicBlock, layers=(1, 1, 1, 1), rank=rank, dtype=jnp.float32, rngs=nnx.Rngs(0)
  )


def _efficientnet(rank):
  options = {"num_classes": 5, "width": 0.25, "depth": 0.1}
  return create_model("efficientnet_b0", rank=rank, **options, rngs=nnx.Rngs(0))


def _c3d(rank):
  return create_model("c3d", view={2: "frame", 3: "clip"}[rank], **C3D, rngs=nnx.Rngs(0))


@pytest.mark.parametrize("build", [_resnet, _efficientnet, _c3d], ids=lambda build: build.__name__[1:])
def test_a_network_of_centre_taps_answers_to_a_still_clip_as_to_the_image(build):
  """With strides and pooling along time, padding, squeeze-and-excitation and batch statistics."""
  flat, deep = trained(build(2)), build(3)
  inflate_weights(flat, deep, "centre")
  x = images(33, 32)
  clip = still(x, 7)
  expected = evaluated(flat, clip if build is _c3d else x)
  assert np.std(expected) > 0
  np.testing.assert_allclose(evaluated(deep, clip), expected, atol=1e-4 * float(np.std(expected)))


def test_a_network_of_means_answers_to_a_still_clip_as_to_the_image():
  """Where no convolution reaches into padding along time."""
  flat, deep = trained(_c3d(2)), _c3d(3)
  inflate_weights(flat, deep)
  clip = still(images(8, 9), 61)
  for stage in deep.stages:
    for unit in stage.units:
      unit.conv.padding = ((0, 0), (1, 1), (1, 1))
  expected = evaluated(flat, clip)
  np.testing.assert_allclose(evaluated(deep, clip), expected, atol=1e-4 * float(np.std(expected)))


def test_what_is_no_kernel_is_copied():
  flat, deep = trained(_c3d(2)), _c3d(3)
  given = numbers(flat)
  inflate_weights(flat, deep)
  got = numbers(deep)
  for path, x in jax.tree.leaves_with_path(given):
    y = got
    for key in path:
      y = y[key.key]
    expected = inflate(x, y.shape[:3]) if x.ndim == 4 else x
    np.testing.assert_array_equal(y, expected, jax.tree_util.keystr(path))
  jax.tree.map(np.testing.assert_array_equal, numbers(flat), given)


def test_an_abstract_network_takes_weights():
  deep = abstract_model("c3d", **C3D)
  flat = _c3d(2)
  inflate_weights(flat, deep)
  np.testing.assert_array_equal(deep.head.classifier.kernel[...], flat.head.classifier.kernel[...])


def refusal(flat, deep):
  """What is said about weights that do not fit, after which the model is as it was."""
  before = numbers(deep)
  with pytest.raises(UserError) as error:
    inflate_weights(flat, deep)
  jax.tree.map(np.testing.assert_array_equal, numbers(deep), before)
  assert "\n" not in str(error.value)
  return str(error.value)


def test_all_that_does_not_fit_is_named():
  flat = create_model("c3d", view="frame", **C3D | {"num_classes": 7, "in_channels": 1}, rngs=nnx.Rngs(0))
  says = refusal(flat, _c3d(3))
  assert says == (
    "the weights of C3D do not fit C3D of rank 3: head.classifier.bias (7,) -> (5,), "
    "head.classifier.kernel (16, 7) -> (16, 5), stages.0.units.0.conv.kernel (3, 3, 1, 8) -> (3, 3, 3, 3, 8)"
  )


def test_another_architecture_is_refused():
  says = refusal(create_model("lenet5", num_classes=5, in_channels=3, rngs=nnx.Rngs(0)), _c3d(3))
  assert "c1.kernel (5, 5, 3, 6) -> none" in says and "stages.0.units.0.norm.mean none -> (8,)" in says


def test_two_networks_of_images_are_no_clip():
  flat = create_model("lenet5", rngs=nnx.Rngs(0))
  says = refusal(flat, create_model("lenet5", in_channels=1, rngs=nnx.Rngs(0)))
  assert "c1.kernel (5, 5, 3, 6) -> (5, 5, 1, 6)" in says


class _Up(nnx.Module):
  def __init__(self, rank):
    self.up = TransposedConvolution(2, 2, (2,) * rank, strides=2, rngs=nnx.Rngs(0))


def test_transposed_convolutions_are_refused():
  """How many taps meet in one output depends on the stride."""
  assert "up.kernel (2, 2, 2, 2) -> (2, 2, 2, 2, 2)" in refusal(_Up(2), _Up(3))


def test_names():
  shapes = {"c1.kernel": (5, 5, 3, 6), "c3.kernel": (3, 3, 6, 16), "c1.bias": (6,), "f6.kernel": (120, 84)}
  assert inflatable(abstract_model("lenet5", rank=3), shapes) == ["c1.kernel"]
  assert inflatable(abstract_model("lenet5", rank=2), shapes) == []


@pytest.mark.parametrize(
  ("kernel", "size", "mode", "message"),
  [
    (KERNEL, (3, 3, 3), "first", "mode='first' is not known; valid: centre, mean"),
    (KERNEL, (3, 5, 5), "mean", r"a kernel \(3, 3, 4, 5\) .* cannot become one of \(3, 5, 5\) taps"),
    (KERNEL[0], (3, 3), "mean", r"a kernel \(3, 4, 5\) .* cannot become one of \(3, 3\) taps"),
    (KERNEL, (0, 3, 3), "mean", r"cannot become one of \(0, 3, 3\) taps"),
  ],
)
def test_mistakes(kernel, size, mode, message):
  with pytest.raises(UserError, match=message):
    inflate(kernel, size, mode)
  with pytest.raises(UserError, match="mode='last' is not known; valid: centre, mean"):
    inflate_weights(_Up(2), _Up(3), "last")

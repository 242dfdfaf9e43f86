import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from cnn_zoo.convolutions import (
  Convolution,
  DepthwiseSeparableConvolution,
  InvertedBottleneck,
  SpatiallySeparableConvolution,
)
from cnn_zoo.layers import BatchNorm
from tests.helpers.reference import assert_close, reference


def shapes(layer):
  """The kernels of the steps and their groups."""
  return [(convolution.kernel[...].shape, convolution.groups) for convolution in layer.convolutions]


def test_a_depthwise_separable_convolution_by_hand():
  layer = DepthwiseSeparableConvolution(2, 1, (3,), padding="VALID", rngs=nnx.Rngs(0))
  depthwise, pointwise = layer.convolutions
  depthwise.kernel.set_value(jnp.asarray([[[1.0, 0.0]], [[10.0, 2.0]], [[100.0, 0.0]]]))
  pointwise.kernel.set_value(jnp.asarray([[[1.0], [1000.0]]]))
  pointwise.bias.set_value(jnp.asarray([0.5]))
  x = jnp.asarray([[1.0, 4.0], [2.0, 5.0], [3.0, 6.0], [0.0, 7.0]])[None]
  np.testing.assert_array_equal(layer(x).ravel(), [321 + 10000 + 0.5, 32 + 12000 + 0.5])
  assert depthwise.bias is None


def test_steps():
  rngs = nnx.Rngs(0)
  separable = DepthwiseSeparableConvolution(4, 6, (3, 5), multiplier=2, rngs=rngs)
  assert shapes(separable) == [((3, 5, 1, 8), 4), ((1, 1, 8, 6), 1)]
  assert shapes(InvertedBottleneck(4, 6, (3, 5), rngs=rngs)) == [
    ((1, 1, 4, 24), 1),
    ((3, 5, 1, 24), 24),
    ((1, 1, 24, 6), 1),
  ]
  assert shapes(InvertedBottleneck(4, 6, (3, 5), expansion=1, rngs=rngs)) == [((3, 5, 1, 4), 4), ((1, 1, 4, 6), 1)]
  spatially = functools.partial(SpatiallySeparableConvolution, 4, 6, rngs=rngs)
  assert shapes(spatially((3, 5))) == [((3, 1, 4, 6), 1), ((1, 5, 6, 6), 1)]
  assert shapes(spatially((3, 5), rank=2, groups=2)) == [((3, 1, 2, 2), 2), ((1, 5, 1, 6), 2)]
  assert shapes(spatially((3, 5, 7))) == [((3, 1, 1, 4, 6), 1), ((1, 5, 1, 6, 6), 1), ((1, 1, 7, 6, 6), 1)]
  assert shapes(spatially((3, 5, 7), split="2+1", rank=9)) == [((1, 5, 7, 4, 9), 1), ((3, 1, 1, 9, 6), 1)]
  assert shapes(spatially((5,))) == [((5, 4, 6), 1)]
  assert shapes(spatially((1, 5, 1))) == [((1, 5, 1, 4, 6), 1)]
  assert shapes(spatially((1, 1))) == [((1, 1, 4, 6), 1)]


def test_an_axis_of_one_tap_keeps_its_stride_and_padding():
  layer = SpatiallySeparableConvolution(
    1, 1, (3, 1, 3), strides=(1, 2, 3), padding=((0, 0), (1, 2), (1, 1)), rngs=nnx.Rngs(0)
  )
  assert [convolution.strides for convolution in layer.convolutions] == [(1, 1, 1), (1, 2, 3)]
  assert layer.output_shape((1, 5, 4, 6, 1)) == (1, 3, 4, 2, 1)


@pytest.mark.parametrize("rank", [2, 3])
def test_a_kernel_of_rank_one_separates_exactly(rank):
  """The outer product of vectors is one convolution with the outer product and one after another with the vectors."""
  rng = np.random.default_rng(0)
  vectors = [rng.standard_normal(k).astype(np.float32) for k in (3, 4, 5)[:rank]]
  options = {"strides": (2, 1, 3)[:rank], "dilation": (1, 2, 1)[:rank], "use_bias": False, "rngs": nnx.Rngs(0)}
  layer = SpatiallySeparableConvolution(1, 1, (3, 4, 5)[:rank], **options)
  for axis, (convolution, vector) in enumerate(zip(layer.convolutions, vectors, strict=True)):
    convolution.kernel.set_value(jnp.asarray(vector.reshape([-1 if a == axis else 1 for a in range(rank + 2)])))
  whole = Convolution(1, 1, (3, 4, 5)[:rank], **options)
  whole.kernel.set_value(jnp.asarray(functools.reduce(np.multiply.outer, vectors)[..., None, None]))
  x = rng.standard_normal((2, *(9, 8, 7)[:rank], 1)).astype(np.float32)
  assert_close(layer(x), np.asarray(whole(x)))


@pytest.mark.parametrize("strides", [1, 2])
@pytest.mark.parametrize("multiplier", [1, 3])
def test_gradients_by_the_definition(strides, multiplier):
  """Backwards through both steps in float64, by hand."""
  layer = DepthwiseSeparableConvolution(
    3, 4, (3, 2), multiplier=multiplier, strides=strides, padding=1, rngs=nnx.Rngs(0)
  )
  rng = np.random.default_rng(0)
  x = rng.standard_normal((2, 5, 6, 3)).astype(np.float32)
  g = rng.standard_normal(layer.output_shape(x.shape)).astype(np.float32)
  first, second = (np.asarray(convolution.kernel[...]) for convolution in layer.convolutions)
  space = ((strides,) * 2, ((1, 1),) * 2, (1, 1), 3)
  point = ((1, 1), ((0, 0),) * 2, (1, 1), 1)
  between, _, _ = reference(x, first, *space)
  y, d_between, d_second = reference(between, second, *point, g)
  _, d_x, d_first = reference(x, first, *space, d_between)

  graph, state = nnx.split(layer)
  ours, vjp = jax.vjp(lambda x, state: nnx.merge(graph, state)(x), x, state)
  ours_x, ours_state = vjp(jnp.asarray(g))
  kernels = [step["kernel"].get_value() for _, step in sorted(ours_state["convolutions"].items())]
  for actual, expected in zip((ours, ours_x, *kernels), (y, d_x, d_first, d_second), strict=True):
    assert_close(actual, expected)


def test_an_inverted_bottleneck_adds_its_input_where_shapes_agree():
  x = jax.random.normal(jax.random.key(0), (2, 6, 6, 4))
  for features, strides, adds in [(4, 1, True), (6, 1, False), (4, 2, False)]:
    layer = InvertedBottleneck(4, features, (3, 3), strides=strides, rngs=nnx.Rngs(0))
    layer.convolutions[-1].kernel.set_value(jnp.zeros((1, 1, 24, features)))
    expected = x if adds else jnp.zeros(layer.output_shape(x.shape))
    np.testing.assert_array_equal(layer(x), expected)


def test_an_inverted_bottleneck_may_start_as_the_identity():
  x = jax.random.normal(jax.random.key(0), (2, 6, 6, 4))
  for features, strides, starts_at_zero in [(4, 1, True), (6, 1, False), (4, 2, False)]:
    options = {"strides": strides, "normalization": BatchNorm, "zero_init_residual": True}
    layer = InvertedBottleneck(4, features, (3, 3), **options, rngs=nnx.Rngs(0))
    assert [float(norm.scale[...].max()) for norm in layer.norms] == [1, 1, not starts_at_zero]
    assert (layer(x).shape == x.shape and bool((layer(x) == x).all())) == starts_at_zero


def test_what_stands_between_the_steps():
  """Normalisation, then activation; after the last step normalisation alone, and that in the bottleneck only."""
  options = {"normalization": BatchNorm, "activation": "relu", "rngs": nnx.Rngs(0)}
  x = jax.random.normal(jax.random.key(0), (4, 6, 5, 3)) + 2
  separable = DepthwiseSeparableConvolution(3, 8, (3, 3), multiplier=2, **options)
  first, second = separable.convolutions
  between = jax.nn.relu(BatchNorm(6)(first(x)))
  assert_close(separable(x), np.asarray(second(between)))
  assert [norm and norm.features for norm in separable.norms] == [6, None]

  spatially = SpatiallySeparableConvolution(3, 8, (3, 3), rank=5, **options)
  first, second = spatially.convolutions
  assert_close(spatially(x), np.asarray(second(jax.nn.relu(BatchNorm(5)(first(x))))))

  bottleneck = InvertedBottleneck(3, 8, (3, 3), expansion=2, **options)
  first, second, third = bottleneck.convolutions
  y = jax.nn.relu(BatchNorm(6)(second(jax.nn.relu(BatchNorm(6)(first(x))))))
  assert_close(bottleneck(x), np.asarray(BatchNorm(8)(third(y))))
  # The running averages are the layer's own state.
  assert float(jnp.abs(bottleneck.norms[0].mean[...]).max()) > 0


def test_an_activation_is_a_name_or_a_function():
  layers = [
    DepthwiseSeparableConvolution(2, 3, (3,), activation=activation, rngs=nnx.Rngs(0))
    for activation in ("silu", jax.nn.silu, None)
  ]
  x = jax.random.normal(jax.random.key(0), (1, 7, 2))
  named, given, none = (np.asarray(layer(x)) for layer in layers)
  np.testing.assert_array_equal(named, given)
  assert np.abs(named - none).max() > 0.1


def test_costs_of_the_papers():
  """Sizes that can be checked by hand."""
  rngs = nnx.Rngs(0)
  shape = (1, 14, 14, 512)  # MobileNet's 3 x 3 layers of 512 channels (Howard et al. 2017, section 3.1)
  standard = Convolution(512, 512, (3, 3), use_bias=False, rngs=rngs)
  separable = DepthwiseSeparableConvolution(512, 512, (3, 3), use_bias=False, rngs=rngs)
  ratio = separable.multiply_adds(shape) / standard.multiply_adds(shape)
  assert ratio == separable.parameters() / standard.parameters() == pytest.approx(1 / 512 + 1 / 9)
  # 7 x 1 after 1 x 7 instead of 7 x 7 is 2 / 7 of the work (Szegedy et al. 2016, section 3.2).
  seven, ones = Convolution(128, 128, (7, 7), rngs=rngs), SpatiallySeparableConvolution(128, 128, (7, 7), rngs=rngs)
  shape = (1, 17, 17, 128)
  assert ones.multiply_adds(shape) / seven.multiply_adds(shape) == 2 / 7
  # R(2+1)D's M = t d^2 n m / (d^2 n + t m) channels between the steps give a 3-D convolution's parameters
  # (Tran et al. 2018, section 3.5).
  rank = 3 * 9 * 64 * 64 // (9 * 64 + 3 * 64)
  options = {"use_bias": False, "rngs": rngs}
  split = SpatiallySeparableConvolution(64, 64, (3, 3, 3), split="2+1", rank=rank, **options)
  assert split.parameters() == Convolution(64, 64, (3, 3, 3), **options).parameters() == 110592


@pytest.mark.parametrize(
  ("kind", "options"),
  [
    (DepthwiseSeparableConvolution, {"activation": "relu"}),
    (DepthwiseSeparableConvolution, {"activation": "relu", "multiplier": 2}),
    (SpatiallySeparableConvolution, {"activation": "relu"}),
    (SpatiallySeparableConvolution, {"activation": "relu", "rank": 96}),
    (InvertedBottleneck, {}),
  ],
)
def test_variance_of_the_output_is_that_of_a_convolution(kind, options):
  """With rectifiers between the steps the default initialiser gives each what it gives a convolution alone."""
  x = np.random.default_rng(0).standard_normal((2, 24, 24, 192)).astype(np.float32)
  for layer in (Convolution(192, 160, (3, 3), rngs=nnx.Rngs(0)), kind(192, 160, (3, 3), **options, rngs=nnx.Rngs(0))):
    assert layer(x)[:, 3:-3, 3:-3].var() == pytest.approx(2 * 192 / 160, rel=0.1)

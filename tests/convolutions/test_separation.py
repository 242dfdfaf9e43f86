import itertools
import math

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from cnn_zoo.convolutions import (
  Convolution,
  SpatiallySeparableConvolution,
  TransposedConvolution,
  separate,
  to_depthwise_separable,
  to_spatially_separable,
)
from cnn_zoo.errors import UserError

SOBEL = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]])
GAUSSIAN = np.outer([1, 4, 6, 4, 1], [1, 4, 6, 4, 1]) / 256
SPLITS = {  # the axes of each step
  ("axes", 2): [(0,), (1,)],
  ("axes", 3): [(0,), (1,), (2,)],
  ("2+1", 3): [(1, 2), (0,)],
}


def normal(*shape, seed=0):
  return np.random.default_rng(seed).standard_normal(shape)


def convolution(in_features, out_features, kernel_size, **options):
  layer = Convolution(in_features, out_features, kernel_size, **options, rngs=nnx.Rngs(0))
  if layer.bias is not None:
    layer.bias.set_value(jnp.asarray(normal(out_features, seed=1), jnp.float32))
  return layer


def cut(kernel, axes):
  """The kernel as a matrix: the taps along `axes` and the inputs, by the other taps and the outputs."""
  spatial = kernel.ndim - 2
  others = [axis for axis in range(spatial) if axis not in axes]
  rows = math.prod(kernel.shape[axis] for axis in axes) * kernel.shape[-2]
  return kernel.transpose(*axes, spatial, *others, spatial + 1).reshape(rows, -1)


def effective(layer):
  """The kernel of the one convolution that separable steps amount to."""
  first, *rest = [np.asarray(step.kernel[...], np.float64) for step in layer.convolutions]
  if layer.convolutions[0].groups > 1:
    in_features = layer.convolutions[0].in_features
    filters = first.reshape(*first.shape[:-2], in_features, -1)
    return np.einsum("...im,imo->...io", filters, rest[0].reshape(in_features, filters.shape[-1], -1))
  for kernel in rest:
    first = np.einsum("...ir,...ro->...io", first, kernel)
  return first


@pytest.mark.parametrize(
  ("kernel", "column", "row"),
  [
    (SOBEL, [1, 2, 1], [-1, 0, 1]),
    (SOBEL.T, [-1, 0, 1], [1, 2, 1]),
    (-SOBEL, [1, 2, 1], [1, 0, -1]),
    (np.outer([3, 10, 3], [-1, 0, 1]), [3, 10, 3], [-1, 0, 1]),
    (GAUSSIAN, np.array([1, 4, 6, 4, 1]) / 16, np.array([1, 4, 6, 4, 1]) / 16),
    (np.full((2, 8), 0.25), [np.sqrt(1 / 2)] * 2, [np.sqrt(1 / 8)] * 8),
  ],
)
def test_separable_filters_are_found_and_read_as_in_the_books(kernel, column, row):
  found = separate(kernel, 1)
  assert found.error < 1e-14
  columns, rows = found.factors
  np.testing.assert_allclose(columns[:, 0], column, atol=1e-14)
  np.testing.assert_allclose(rows[0], row, atol=1e-14)
  np.testing.assert_allclose(found.approximation, kernel, atol=1e-14)


@pytest.mark.parametrize("rank", [1, 2, 3, 4, 5])
def test_a_filter_is_a_sum_of_column_times_row(rank):
  kernel = normal(5, 7)
  columns, rows = separate(kernel, rank).factors
  total = sum(np.outer(columns[:, i], rows[i]) for i in range(rank))
  values = np.linalg.svd(kernel, compute_uv=False)
  error = np.linalg.norm(kernel - total) / np.linalg.norm(kernel)
  assert separate(kernel, rank).error == pytest.approx(error, abs=1e-14)
  assert error == pytest.approx(np.linalg.norm(values[rank:]) / np.linalg.norm(values), abs=1e-14)


def test_zeros_are_separable():
  for rank in (1, 3):
    found = separate(np.zeros((3, 4)), rank)
    assert found.error == 0 and not found.approximation.any()
  assert separate(np.zeros((3, 3, 2, 2)), 6).error == 0


@pytest.mark.parametrize(
  ("shape", "split"), [((3, 5, 4, 6), "axes"), ((3, 3, 5, 4, 6), "2+1"), ((3, 1, 5, 2, 3), "axes")]
)
def test_the_error_is_the_tail_of_the_singular_values(shape, split):
  kernel = normal(*shape)
  axes = (1, 2) if split == "2+1" else (0,)
  values = np.linalg.svd(cut(kernel, axes), compute_uv=False)
  errors = []
  for rank in range(1, len(values) + 1):
    found = separate(kernel, rank, split=split)
    np.testing.assert_allclose(found.singular_values[0], values, rtol=1e-10)
    assert found.error == pytest.approx(np.linalg.norm(values[rank:]) / np.linalg.norm(values), abs=1e-13)
    assert found.error == pytest.approx(
      np.linalg.norm(kernel - found.approximation) / np.linalg.norm(kernel), abs=1e-14
    )
    errors.append(found.error)
  assert all(a > b for a, b in itertools.pairwise(errors))
  assert errors[-1] < 1e-13


def test_the_channels_between_are_balanced():
  first, second = separate(normal(3, 5, 4, 6), 3).factors
  assert (first.shape, second.shape) == ((3, 1, 4, 3), (1, 5, 3, 6))
  into, out = np.linalg.norm(first[:, 0], axis=(0, 1)), np.linalg.norm(second[0], axis=(0, 2))
  np.testing.assert_allclose(into, out, rtol=1e-12)
  assert (into > 0.1).all()


def test_no_other_pair_of_that_rank_is_nearer():
  kernel, rank = normal(3, 3, 4, 5), 3
  matrix = cut(kernel, (0,))
  best = separate(kernel, rank).error * np.linalg.norm(kernel)
  reached = []
  for seed in range(5):  # alternating least squares, which descends
    left = normal(len(matrix), rank, seed=seed)
    for _ in range(200):
      right = np.linalg.lstsq(left, matrix)[0]
      left = np.linalg.lstsq(right.T, matrix.T)[0].T
    reached.append(np.linalg.norm(matrix - left @ right))
  assert min(reached) >= best - 1e-12
  assert min(reached) == pytest.approx(best, rel=1e-6)
  first, second = separate(kernel, rank).factors
  for seed in range(20):
    other = np.matmul(first + 1e-3 * normal(*first.shape, seed=seed), second + 1e-3 * normal(*second.shape, seed=seed))
    assert np.linalg.norm(kernel - other) > best


@pytest.mark.parametrize("rank", [1, 2, 5, 8])
def test_three_axes_are_within_the_bound_of_the_tensor_train(rank):
  kernel = normal(3, 2, 4, 2, 5)
  found = separate(kernel, rank)
  tails = [np.linalg.svd(cut(kernel, axes), compute_uv=False)[rank:] for axes in [(0,), (0, 1)]]
  tails = [np.linalg.norm(tail) / np.linalg.norm(kernel) for tail in tails]
  # The best has at least the error of either cut alone (Eckart and Young), so this is within sqrt(2) of it.
  assert max(tails) - 1e-12 <= found.error <= np.sqrt(tails[0] ** 2 + tails[1] ** 2) + 1e-12
  lost = sum((values[rank:] ** 2).sum() for values in found.singular_values)
  assert (found.error * np.linalg.norm(kernel)) ** 2 == pytest.approx(lost, abs=1e-12)


@pytest.mark.parametrize(("split", "spatial"), SPLITS)
def test_a_kernel_of_low_rank_is_recovered(split, spatial):
  kernel_size, rank = (3, 4, 5)[:spatial], 2
  parts = SPLITS[split, spatial]
  features = [6, *[rank] * (len(parts) - 1), 7]
  kernel = np.eye(6)
  for i, axes in enumerate(parts):
    sizes = [k if axis in axes else 1 for axis, k in enumerate(kernel_size)]
    kernel = np.einsum("...ir,...ro->...io", kernel, normal(*sizes, features[i], features[i + 1], seed=i))
  assert kernel.shape == (*kernel_size, 6, 7)
  assert separate(kernel, rank, split=split).error < 1e-13
  assert separate(kernel, rank - 1, split=split).error > 0.1
  layer = convolution(6, 7, kernel_size)
  layer.kernel.set_value(jnp.asarray(kernel, jnp.float32))
  separable, error = to_spatially_separable(layer, rank, split=split)
  assert error < 1e-6
  np.testing.assert_allclose(effective(separable), kernel, atol=1e-5 * np.abs(kernel).max())


def test_depthwise_separable_kernels_are_recovered():
  kernel = np.einsum("abim,imo->abio", normal(3, 3, 4, 2), normal(4, 2, 6, seed=1))
  layer = convolution(4, 6, (3, 3))
  layer.kernel.set_value(jnp.asarray(kernel, jnp.float32))
  separable, error = to_depthwise_separable(layer, 2)
  assert error < 1e-6
  np.testing.assert_allclose(effective(separable), kernel, atol=1e-5 * np.abs(kernel).max())
  assert to_depthwise_separable(layer, 1)[1] > 0.1


GEOMETRIES = [
  ((3, 3), {}),
  ((3, 5), {"strides": (2, 1), "padding": "VALID"}),
  ((5, 2), {"strides": 2, "padding": ((2, 0), (1, 3)), "dilation": (1, 2)}),
  ((3, 3), {"strides": (2, 3), "dilation": 2, "use_bias": False}),
  ((3, 2, 3), {"strides": (1, 2, 2), "padding": 1}),
  ((2, 3, 3), {"dilation": (2, 1, 2), "padding": "SAME"}),
  ((3, 1, 2), {"strides": (2, 2, 1), "padding": (1, 2, 0)}),
]


def check_same_outputs(layer, other):
  x = jnp.asarray(normal(2, *(9, 8, 7)[: len(layer.kernel_size)], layer.in_features), jnp.float32)
  expected = np.asarray(layer(x))
  assert other.output_shape(x.shape) == expected.shape
  assert (other.convolutions[-1].bias is None) == (layer.bias is None)
  np.testing.assert_allclose(other(x), expected, atol=5e-6 * np.abs(expected).max())


@pytest.mark.parametrize(("kernel_size", "options"), GEOMETRIES)
def test_full_rank_computes_the_same_in_steps_along_the_axes(kernel_size, options):
  layer = convolution(3, 4, kernel_size, **options)
  kernel = np.asarray(layer.kernel[...])
  wide = [axis for axis, k in enumerate(kernel_size) if k > 1]
  full = max(min(cut(kernel, wide[: i + 1]).shape) for i in range(len(wide) - 1))
  separable, error = to_spatially_separable(layer, full)
  assert error < 1e-12
  assert len(separable.convolutions) == len(wide)
  check_same_outputs(layer, separable)
  with pytest.raises(UserError, match=f"rank={full + 1} must be a whole number from 1 to {full} "):
    to_spatially_separable(layer, full + 1)


def test_full_rank_computes_the_same_in_space_and_time():
  layer = convolution(2, 5, (3, 3, 2), strides=(2, 1, 2), padding=((0, 2), (1, 1), (1, 0)))
  separable, error = to_spatially_separable(layer, 12, split="2+1")
  assert error < 1e-12
  assert [step.kernel_size for step in separable.convolutions] == [(1, 3, 2), (3, 1, 1)]
  check_same_outputs(layer, separable)


@pytest.mark.parametrize(("kernel_size", "options"), [*GEOMETRIES, ((5,), {"padding": "CAUSAL", "dilation": 2})])
def test_full_multiplier_computes_the_same_in_channels(kernel_size, options):
  layer = convolution(3, 7, kernel_size, **options)
  full = min(math.prod(kernel_size), 7)
  separable, error = to_depthwise_separable(layer, full)
  assert error < 1e-12
  check_same_outputs(layer, separable)
  with pytest.raises(UserError, match=f"multiplier={full + 1} must be a whole number from 1 to {full} "):
    to_depthwise_separable(layer, full + 1)


def test_depthwise_separable_kernels_are_the_nearest():
  layer = convolution(4, 6, (3, 3))
  kernel = np.asarray(layer.kernel[...], np.float64)
  norm = np.linalg.norm(kernel)
  errors = []
  for multiplier in range(1, 7):
    separable, error = to_depthwise_separable(layer, multiplier)
    tails = [np.linalg.svd(kernel[:, :, i].reshape(9, 6), compute_uv=False)[multiplier:] for i in range(4)]
    assert error == pytest.approx(np.linalg.norm(tails) / norm, abs=1e-13)
    assert error == pytest.approx(np.linalg.norm(kernel - effective(separable)) / norm, abs=1e-6)
    errors.append(error)
  assert all(a > b for a, b in itertools.pairwise(errors))
  separable, error = to_depthwise_separable(layer, 2)
  for seed in range(20):
    for step in separable.convolutions:
      step.kernel.set_value(step.kernel[...] + 1e-3 * jnp.asarray(normal(*step.kernel.shape, seed=seed), jnp.float32))
    assert np.linalg.norm(kernel - effective(separable)) > error * norm


@pytest.mark.parametrize(
  ("convert", "kernel_size", "sizes"),
  [
    (lambda layer: to_spatially_separable(layer, 5), (3, 3), (40, 40)),
    (lambda layer: to_spatially_separable(layer, 3), (3, 3, 2), (14, 14, 14)),
    (lambda layer: to_spatially_separable(layer, 6, split="2+1"), (3, 3, 2), (14, 14, 14)),
    (lambda layer: to_depthwise_separable(layer, 1), (3, 3), (40, 40)),
    (lambda layer: to_depthwise_separable(layer, 2), (7,), (1000,)),
  ],
)
def test_the_error_is_that_of_outputs_of_white_noise(convert, kernel_size, sizes):
  layer = convolution(4, 8, kernel_size, padding="VALID")
  other, error = convert(layer)
  x = jnp.asarray(normal(4, *sizes, 4), jnp.float32)
  y, difference = np.asarray(layer(x) - layer.bias[...]), np.asarray(layer(x) - other(x))
  assert 0.2 < error < 0.95
  assert np.linalg.norm(difference) / np.linalg.norm(y) == pytest.approx(error, rel=0.05)


def test_the_layer_is_left_as_it_is():
  layer = convolution(3, 4, (3, 3))
  before = np.array(layer.kernel[...])
  separable, _ = to_spatially_separable(layer, 2)
  assert isinstance(separable, SpatiallySeparableConvolution)
  np.testing.assert_array_equal(layer.kernel[...], before)
  np.testing.assert_array_equal(separable.convolutions[-1].bias[...], layer.bias[...])
  assert separable.parameters() == 3 * 3 * 2 + 3 * 2 * 4 + 4 < layer.parameters()


@pytest.mark.parametrize("convert", [to_spatially_separable, to_depthwise_separable])
@pytest.mark.parametrize(
  ("layer", "message"),
  [
    (lambda: convolution(4, 4, (3, 3), groups=2), "groups=2 of the convolution to separate must be 1"),
    (lambda: convolution(4, 4, (1, 1)), "kernel_size=.*one tap|one tap.*kernel_size="),
    (lambda: TransposedConvolution(4, 4, (3, 3), rngs=nnx.Rngs(0)), "convolution=TransposedConvolution cannot"),
    (lambda: convolution(4, 4, (3, 3), kernel_init=lambda g, shape, *_: np.full(shape, np.nan)), "not finite"),
  ],
)
def test_what_cannot_be_converted(convert, layer, message):
  with pytest.raises(UserError, match=message) as error:
    convert(layer(), 1)
  assert "\n" not in str(error.value)


@pytest.mark.parametrize(
  ("kernel", "rank", "options", "message"),
  [
    (SOBEL, 0, {}, "rank=0 must be a whole number from 1 to 3 "),
    (SOBEL, 4, {}, "rank=4 must be a whole number from 1 to 3 "),
    (SOBEL, 1.5, {}, "rank=1.5 must be a whole number"),
    (SOBEL, 1, {"split": "2+1"}, r"split='2\+1' needs a kernel of rank 3"),
    (SOBEL, 1, {"split": "axis"}, "split='axis' is not known; did you mean axes"),
    (SOBEL[0], 1, {}, r"kernel of shape \(3,\) must be \[height, width\]"),
    (SOBEL[:1], 1, {}, r"split='axes': each of two or more steps needs more than one tap of kernel_size=\(1, 3\)"),
    (np.ones((3, 4, 4)), 1, {}, r"more than one tap of kernel_size=\(3,\)"),
    (np.ones((1, 3, 3, 2, 2)), 1, {"split": "2+1"}, r"split=.2\+1.: each of two or more steps needs more than one tap"),
    (np.full((3, 3), np.inf), 1, {}, "not finite"),
  ],
)
def test_what_cannot_be_separated(kernel, rank, options, message):
  with pytest.raises(UserError, match=message) as error:
    separate(kernel, rank, **options)
  assert "\n" not in str(error.value)

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from cnn_zoo.convolutions import TransposedConvolution, initializers, lowering
from cnn_zoo.errors import UserError
from cnn_zoo.layers import ResizeConvolution, resize, upsampling
from cnn_zoo.layers.upsampling import crop, pad_to_multiple
from tests.helpers.lowerings import forward_mode, second_derivatives
from tests.helpers.model_checks import QUICK

CASES = [
  ((4,), (8,)),
  ((5, 3), (15, 12)),
  ((5, 4), (13, 4)),
  ((7, 3), (3, 10)),
  ((1, 1), (6, 5)),
  ((2, 3, 4), (4, 5, 7)),
  ((9, 8, 2), (2, 8, 1)),
]


def inputs(*sizes, batch=2, features=3):
  return np.random.default_rng(0).standard_normal((batch, *sizes, features)).astype(np.float32)


def interpolated(x, sizes, method):
  """Axis by axis and element by element, in float64."""
  x = x.astype(np.float64)
  for axis, after in enumerate(sizes, 1):
    before, lines = x.shape[axis], []
    for i in range(after):
      place = (i + 0.5) * before / after  # in elements, from the first one's edge
      if method == "nearest":
        lines.append(np.take(x, int(place), axis))
      else:
        place = min(max(place - 0.5, 0), before - 1)
        low = int(place)
        high = min(low + 1, before - 1)
        lines.append(np.take(x, low, axis) * (low + 1 - place) + np.take(x, high, axis) * (place - low))
    x = np.stack(lines, axis)
  return x


@pytest.fixture(params=["sums", "products"])
def form(request):
  """Either way of computing it: by sums, as on a CPU, or by products, as on a GPU."""
  with lowering("auto", platform="cpu" if request.param == "sums" else "gpu"):
    yield


@pytest.mark.parametrize("method", upsampling.INTERPOLATIONS)
def test_against_numpy(method, form):
  """Values, and gradients by the transposed matrix."""

  def run(arrays):
    for (_, wanted), (x, g) in zip(CASES, arrays, strict=True):
      y, pull = jax.vjp(lambda x, wanted=wanted: resize(x, wanted, method), x)
      yield y, pull(g)[0]

  arrays = [(inputs(*sizes), inputs(*wanted)) for sizes, wanted in CASES]
  results = jax.jit(lambda arrays: list(run(arrays)), compiler_options=QUICK)(arrays)
  for (sizes, wanted), (x, g), (y, gradient) in zip(CASES, arrays, results, strict=True):
    assert y.shape == (2, *wanted, 3) and y.dtype == jnp.float32
    np.testing.assert_allclose(y, interpolated(x, wanted, method), atol=2e-6)
    basis = np.eye(int(np.prod(sizes))).reshape(-1, *sizes, 1)
    matrix = interpolated(basis, wanted, method).reshape(len(basis), -1)  # [input, output]
    expected = np.einsum("boc,io->bic", g.reshape(2, -1, 3), matrix)
    np.testing.assert_allclose(gradient.reshape(2, -1, 3), expected, atol=1e-5)


def test_values_of_pytorch():
  """torch.nn.functional.interpolate(..., mode="bilinear", align_corners=False), and mode="nearest-exact"."""
  x = jnp.asarray([1.0, 2.0, 3.0, 4.0]).reshape(1, 4, 1)
  np.testing.assert_array_equal(resize(x, 8).ravel(), [1, 1.25, 1.75, 2.25, 2.75, 3.25, 3.75, 4])
  np.testing.assert_allclose(resize(x, 3).ravel(), [7 / 6, 2.5, 23 / 6], rtol=1e-6)
  np.testing.assert_array_equal(resize(x, 6, "nearest").ravel(), [1, 2, 2, 3, 4, 4])


@pytest.mark.parametrize(("sizes", "wanted"), [((7, 8), (56, 32)), ((13, 13), (100, 97))])
def test_against_jax(sizes, wanted):
  x = inputs(*sizes)
  expected = jax.image.resize(x, (2, *wanted, 3), "bilinear", antialias=False)
  np.testing.assert_allclose(resize(jnp.asarray(x), wanted), expected, atol=3e-5)  # its places are in float32


def test_the_setting_chooses():
  x = jnp.ones((1, 4, 4, 2))
  for setting, product in [(("auto", "cpu"), False), (("auto", "gpu"), True), (("lax", "cpu"), True)]:
    with lowering(*setting):
      program = jax.jit(lambda x: resize(x, 8)).lower(x).as_text()
      assert ("dot_general" in program) == product


@pytest.mark.parametrize("method", upsampling.INTERPOLATIONS)
def test_derivatives_and_symbolic_batch(method):
  """Forward mode, second derivatives and exported programs, by sums and by products."""

  def run(x):
    return jax.tree.leaves([transform(enlarge, x) for transform in (forward_mode, second_derivatives)])

  def enlarge(x):
    return resize(x, (9, 2), method)

  x = jnp.asarray(inputs(4, 5))
  (batch,) = jax.export.symbolic_shape("batch")
  results = []
  for setting in ("auto", "lax"):
    with lowering(setting, platform="cpu"):
      results.append(jax.jit(run, compiler_options=QUICK)(x))
  exported = jax.export.export(jax.jit(run))(jax.ShapeDtypeStruct((batch, 4, 5, 3), x.dtype))
  for ours, theirs, others in zip(*results, exported.call(x), strict=True):
    assert np.abs(theirs).max() > 0
    np.testing.assert_allclose(ours, theirs, atol=1e-5)
    np.testing.assert_allclose(others, theirs, atol=1e-5)


def test_far_enlargement():
  """The gradient of one element is a sum of more terms than are written out."""
  x = jnp.asarray(inputs(1, features=2))
  y, pullback = jax.vjp(lambda x: resize(x, 200), x)
  np.testing.assert_array_equal(y, jnp.broadcast_to(x, (2, 200, 2)))
  np.testing.assert_allclose(pullback(jnp.ones_like(y))[0], np.full((2, 1, 2), 200), rtol=1e-6)


def test_equal_sizes_are_left_alone():
  x = jnp.asarray(inputs(5, 4))
  assert resize(x, (5, 4)) is x


def test_dtype_and_scope():
  x = jnp.asarray(inputs(4, 4), jnp.bfloat16)
  assert resize(x, 8).dtype == jnp.bfloat16
  for method in upsampling.INTERPOLATIONS:
    program = jax.make_jaxpr(lambda x, method=method: resize(x, 8, method))(x)
    assert {str(equation.source_info.name_stack) for equation in program.eqns} == {f"resize_{method}"}


@pytest.mark.parametrize(
  ("sizes", "method", "message"),
  [
    ((8, 8, 8), "bilinear", r"sizes=\(8, 8, 8\) has 3 axes"),
    ((8, 0), "bilinear", r"sizes=\(8, 0\) must be at least 1"),
    (8, "cubic", "method='cubic' is not known; valid: bilinear, nearest"),
  ],
)
def test_mistakes(sizes, method, message):
  with pytest.raises(UserError, match=message):
    resize(jnp.zeros((1, 4, 4, 1)), sizes, method)


@pytest.mark.parametrize(("sizes", "stride"), [((9,), 8), ((6, 5), 2), ((4, 4), 32), ((4, 3, 5), 4)])
def test_bilinear_transposed_convolutions_interpolate(sizes, stride):
  """Away from borders, where the transposed convolution adds zeros."""
  rank = len(sizes)
  layer = TransposedConvolution(
    3, 3, (2 * stride,) * rank, strides=stride, kernel_init=initializers.bilinear, rngs=nnx.Rngs(0)
  )
  x = jnp.asarray(inputs(*sizes))
  y, expected = layer(x), resize(x, [stride * n for n in sizes])
  assert y.shape == expected.shape
  inside = (slice(None), *[slice(stride // 2, -(stride // 2))] * rank)
  np.testing.assert_allclose(y[inside], expected[inside], atol=2e-6)
  assert np.abs(y - expected).max() > 0.1


def test_bilinear_of_an_odd_kernel_and_of_groups():
  layer = TransposedConvolution(
    2, 2, (3,), strides=2, padding="VALID", groups=2, kernel_init=initializers.bilinear, rngs=nnx.Rngs(0)
  )
  np.testing.assert_array_equal(layer.kernel[...], [[[0.5, 0.5]], [[1, 1]], [[0.5, 0.5]]])
  y = layer(jnp.asarray([[[1.0, 3.0], [2.0, 5.0]]]))
  np.testing.assert_array_equal(y[0], [[0.5, 1.5], [1, 3], [1.5, 4], [2, 5], [1, 2.5]])
  with pytest.raises(UserError, match="as many outputs as inputs, not 2 -> 3 channels"):
    TransposedConvolution(2, 3, (4,), strides=2, kernel_init=initializers.bilinear, rngs=nnx.Rngs(0))


@pytest.mark.parametrize("method", upsampling.INTERPOLATIONS)
def test_resize_convolutions_have_no_checkerboard(method):
  """Of a map of equal elements a transposed convolution makes a pattern, whatever its kernel (Odena et al. 2016)."""
  x, inside = jnp.ones((1, 6, 6, 2)), (slice(None), slice(3, -3), slice(3, -3))
  layer = TransposedConvolution(2, 3, (3, 3), strides=2, rngs=nnx.Rngs(0))
  y = layer(x)[inside]
  assert np.ptp(y, (1, 2)).min() > 0.1
  np.testing.assert_allclose(y[:, :-2, :-2], y[:, 2:, 2:], atol=1e-6)
  layer = ResizeConvolution(2, 3, (3, 3), method=method, rngs=nnx.Rngs(0))
  y = layer(x)
  assert y.shape == (1, 12, 12, 3) and np.abs(y).min() > 0
  np.testing.assert_allclose(np.ptp(y[inside], (1, 2)), 0, atol=1e-6)


def test_padding_and_cropping():
  x = jnp.asarray(inputs(5, 8, 1))
  padded = pad_to_multiple(x, 4)
  assert padded.shape == (2, 8, 8, 4, 3)
  np.testing.assert_array_equal(crop(padded, (5, 8, 1)), x)
  assert np.abs(padded).sum() == pytest.approx(np.abs(x).sum())  # the rest is zeros

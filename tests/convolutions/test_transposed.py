import gzip
import itertools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jax import lax

from cnn_zoo.convolutions import Convolution, TransposedConvolution, initializers, lowering
from cnn_zoo.errors import UserError
from tests.helpers import make_transposed_golden as golden
from tests.helpers import traced
from tests.helpers.reference import assert_close, footprint

GOLDEN = json.loads(gzip.decompress(golden.PATH.read_bytes()))


def layer_with(kernel, bias=None, groups=1, **options):
  """A transposed convolution of these numbers."""
  *kernel_size, in_features, out_features = kernel.shape
  features = in_features * groups, out_features
  layer = TransposedConvolution(
    *features, kernel_size, groups=groups, use_bias=bias is not None, **options, rngs=nnx.Rngs(0)
  )
  layer.kernel.set_value(jnp.asarray(kernel, jnp.float32))
  if bias is not None:
    layer.bias.set_value(jnp.asarray(bias, jnp.float32))
  return layer


@pytest.mark.parametrize(("case", "expected"), list(zip(golden.CASES, GOLDEN, strict=True)), ids=map(str, golden.CASES))
def test_pytorch(case, expected):
  x, kernel, bias = golden.arrays(case)
  _, stride, padding, output_padding, dilation, groups = case
  options = {"strides": stride, "padding": padding, "output_padding": output_padding, "dilation": dilation}
  layer = layer_with(kernel, bias, groups, **options)
  for name in ("auto", "lax"):
    with lowering(name):
      np.testing.assert_array_equal(layer(jnp.asarray(x, jnp.float32)), expected)


def test_by_hand():
  layer = layer_with(np.asarray([1.0, 10.0, 100.0]).reshape(3, 1, 1), strides=2, padding="VALID")
  y = layer(jnp.asarray([1.0, 2.0, 3.0]).reshape(1, 3, 1))
  np.testing.assert_array_equal(y.ravel(), [1, 10, 102, 20, 203, 30, 300])


def numbers(seed, *shapes):
  """Multiples of 1/4, whose sums and products are exact."""
  rng = np.random.default_rng(seed)
  return [(rng.integers(-8, 9, shape) / 4).astype(np.float32) for shape in shapes]


AXES = {1: "W", 2: "HW", 3: "DHW"}


@st.composite
def geometries(draw, rank):
  """Sizes, kernel_size and options of a transposed convolution whose output is not empty."""

  def each(low, high):
    return draw(st.tuples(*[st.integers(low, high)] * rank))

  sizes, kernel_size, strides, dilation = each(1, 4), each(1, 4), each(1, 3), each(1, 2)
  padding = draw(st.sampled_from(["SAME", "VALID", "pairs"]))
  if padding == "pairs":
    room = [s * (n - 1) + d * (k - 1) for n, k, s, d in zip(sizes, kernel_size, strides, dilation, strict=True)]
    low = tuple(draw(st.integers(0, min(r, 2))) for r in room)
    high = tuple(draw(st.integers(0, min(r - before, 2))) for r, before in zip(room, low, strict=True))
    padding = tuple(zip(low, high, strict=True))
  return sizes, kernel_size, strides, dilation, padding


@pytest.mark.parametrize("rank", [1, 2, 3])
@settings(max_examples=12, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.data(), st.integers(1, 3), st.integers(1, 3), st.integers(1, 2))
def test_lax(rank, data, in_features, out_features, batch):
  """Values and gradients are those of lax.conv_transpose."""
  sizes, kernel_size, strides, dilation, padding = data.draw(geometries(rank))
  spans = [d * (k - 1) for k, d in zip(kernel_size, dilation, strict=True)]
  pads = padding  # of lax: how far the enlarged input is padded
  if padding != "SAME":
    cut = ((0, 0),) * rank if padding == "VALID" else padding
    pads = [(span - low, span - high) for span, (low, high) in zip(spans, cut, strict=True)]
  axes = (f"N{AXES[rank]}C", f"{AXES[rank]}IO", f"N{AXES[rank]}C")

  def expected(x, kernel):
    flipped = jnp.flip(kernel, range(rank))
    return lax.conv_transpose(x, flipped, strides, pads, rhs_dilation=dilation, dimension_numbers=axes)

  x, kernel = numbers(0, (batch, *sizes, in_features), (*kernel_size, in_features, out_features))
  check_gradients(layer_with(kernel, strides=strides, dilation=dilation, padding=padding), expected, x)


def check_gradients(layer, expected, x):
  """The layer computes expected(x, kernel) and has its gradients by both."""

  def actual(x, kernel):
    copy = nnx.clone(layer)
    copy.kernel.set_value(kernel)
    return copy(x)

  @jax.jit
  def run(x, kernel, g):
    both = []
    for function in (actual, expected):
      y, vjp = jax.vjp(function, x, kernel)
      both.append((y, *vjp(g)))
    return both

  (g,) = numbers(1, layer.output_shape(x.shape))
  for ours, theirs in zip(*run(x, layer.kernel[...], g), strict=True):
    assert_close(ours, np.asarray(theirs))


@pytest.mark.parametrize("rank", [1, 2, 3])
@settings(max_examples=8, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.data(), st.integers(1, 2), st.integers(1, 2), st.integers(1, 2))
def test_gradient_of_a_convolution(rank, data, groups, in_features, out_features):
  """It is the gradient, by its input, of the convolution from the transposed one's output to its input."""
  sizes, kernel_size, strides, dilation, padding = data.draw(geometries(rank).filter(lambda case: case[-1] != "SAME"))
  cut = ((0, 0),) * rank if padding == "VALID" else padding
  features = in_features * groups, out_features * groups
  x, kernel = numbers(0, (1, *sizes, features[0]), (*kernel_size, in_features, features[1]))
  options = {"strides": strides, "dilation": dilation, "padding": padding}
  layer = layer_with(kernel, groups=groups, **options)
  large = layer.output_shape(x.shape)

  def expected(x, kernel):
    # The channels in and out of each group change places.
    swapped = kernel.reshape(*kernel_size, in_features, groups, out_features).swapaxes(-1, -3)
    swapped = swapped.reshape(*kernel_size, out_features, features[0])

    def convolution(y):
      return lax.conv_general_dilated(
        y,
        swapped,
        strides,
        cut,
        rhs_dilation=dilation,
        dimension_numbers=(f"N{AXES[rank]}C", f"{AXES[rank]}IO", f"N{AXES[rank]}C"),
        feature_group_count=groups,
      )

    return jax.linear_transpose(convolution, jax.ShapeDtypeStruct(large, jnp.float32))(x)[0]

  check_gradients(layer, expected, x)


@pytest.mark.parametrize("rank", [1, 2, 3])
@settings(max_examples=20, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.data(), st.integers(1, 2), st.booleans())
def test_closed_forms(rank, data, groups, use_bias):
  """Sizes and costs in closed form against the parameters and the traced program."""
  sizes, kernel_size, strides, dilation, padding = data.draw(geometries(rank))
  options = {"strides": strides, "dilation": dilation, "padding": padding, "groups": groups, "use_bias": use_bias}
  layer = TransposedConvolution(2, 4, kernel_size, **options, rngs=nnx.Rngs(0))
  shape = (2, *sizes, 2)
  assert jax.eval_shape(layer, jnp.zeros(shape)).shape == layer.output_shape(shape)
  assert sum(p.size for p in jax.tree.leaves(nnx.state(layer, nnx.Param))) == layer.parameters()
  # The multiply-adds of the convolution whose gradient it is.
  linear = TransposedConvolution(2, 4, kernel_size, **options | {"use_bias": False}, rngs=nnx.Rngs(0))
  with lowering("lax"):
    convolution = jax.linear_transpose(linear, jax.ShapeDtypeStruct(shape, jnp.float32))
    program = jax.make_jaxpr(convolution)(jnp.zeros(layer.output_shape(shape)))
    itself = jax.make_jaxpr(linear)(jnp.zeros(shape))
  assert traced.multiply_adds(program.jaxpr) == layer.multiply_adds(shape)
  if max(strides) > 1:  # at stride 1 its program is one that meets padding as well
    assert traced.multiply_adds(itself.jaxpr) == layer.multiply_adds(shape)


@pytest.mark.parametrize("kernel", [1, 2, 3, 5])
@pytest.mark.parametrize(("strides", "dilation"), [(1, 1), (1, 3), (2, 1), (2, 2), (3, 2), (4, 2), (4, 6)])
def test_receptive_field(kernel, strides, dilation):
  options = {"strides": strides, "dilation": dilation, "padding": "VALID", "kernel_init": initializers.ones}
  layer = TransposedConvolution(1, 1, (kernel,), **options, rngs=nnx.Rngs(0))
  assert layer.receptive_field() == footprint(layer, (1, 14, 1))


@pytest.mark.parametrize("strides", [1, 2, 3, 4])
@pytest.mark.parametrize("kernel", [1, 2, 3, 5])
def test_same_padding_multiplies_sizes(strides, kernel):
  layer = TransposedConvolution(2, 3, (kernel,), strides=strides, rngs=nnx.Rngs(0))
  assert layer.output_shape((1, 5, 2)) == (1, 5 * strides, 3)


def test_output_padding_restores_the_size_of_a_convolutions_input():
  for size, extra in [(7, 0), (8, 1), (9, 2)]:
    options = {"strides": 3, "padding": 1}
    small = Convolution(1, 1, (3,), **options, rngs=nnx.Rngs(0)).output_shape((1, size, 1))
    assert small == (1, 3, 1)
    layer = TransposedConvolution(1, 1, (3,), output_padding=extra, **options, rngs=nnx.Rngs(0))
    assert layer.output_shape(small) == (1, size, 1)


@pytest.mark.parametrize(
  ("strides", "dilation", "output_padding"),
  [((3, 2), (4, 4), (2, 3)), ((1, 1), (3, 2), (2, 1)), ((2, 3), (3, 5), (2, 4))],
)
@pytest.mark.parametrize("padding", [0, 2, (3, 1)])
def test_output_padding_up_to_the_dilation(strides, dilation, output_padding, padding):
  """PyTorch's rule: below the stride or the dilation. The definition, element by element, with what is added kept."""
  x, kernel = numbers(0, (1, 2, 3, 2), (2, 3, 2, 2))
  pads = (padding,) * 2 if isinstance(padding, int) else padding
  layer = layer_with(kernel, strides=strides, dilation=dilation, output_padding=output_padding, padding=pads)
  sizes = [
    s * (n - 1) + d * (k - 1) + 1 - 2 * p + extra
    for s, n, d, k, p, extra in zip(strides, (2, 3), dilation, (2, 3), pads, output_padding, strict=True)
  ]
  assert layer.output_shape(x.shape) == (1, *sizes, 2)
  expected = np.zeros((1, *(n + 2 * p for n, p in zip(sizes, pads, strict=True)), 2))
  for i, j, k, m in itertools.product(range(2), range(3), range(2), range(3)):
    expected[0, i * strides[0] + k * dilation[0], j * strides[1] + m * dilation[1]] += x[0, i, j] @ kernel[k, m]
  inside = expected[:, pads[0] : pads[0] + sizes[0], pads[1] : pads[1] + sizes[1]]
  for name in ("auto", "lax"):
    with lowering(name):
      np.testing.assert_array_equal(layer(jnp.asarray(x)), inside)


def test_dtype_is_that_of_the_input():
  layer = TransposedConvolution(3, 4, (3, 3), strides=2, rngs=nnx.Rngs(0))
  y = layer(jnp.ones((1, 3, 3, 3), jnp.bfloat16))
  assert y.dtype == jnp.bfloat16 and layer.kernel[...].dtype == jnp.float32
  np.testing.assert_allclose(np.asarray(y, np.float32), layer(jnp.ones((1, 3, 3, 3))), atol=0.1)


@pytest.mark.parametrize("strides", [1, 2, 3])
def test_variance_of_the_output_is_that_of_a_convolution(strides):
  x = np.random.default_rng(0).standard_normal((4, 100, 128)).astype(np.float32)
  for kind, stride in ((Convolution, 1), (TransposedConvolution, strides)):
    layer = kind(128, 96, (6,), strides=stride, rngs=nnx.Rngs(0))
    assert layer(x)[:, 3:-3].var() == pytest.approx(2 * 128 / 96, rel=0.05)


@pytest.mark.parametrize(
  ("options", "message"),
  [
    (
      {"output_padding": 2, "strides": 2, "padding": 1},
      r"output_padding=2 must .* below the larger of strides=\(2, 2\) and dilation=\(1, 1\)",
    ),
    ({"output_padding": (2, 3), "strides": (3, 1), "dilation": (1, 3), "padding": 1}, r"output_padding=\(2, 3\) must"),
    ({"output_padding": 1, "padding": 1}, r"output_padding=1 must .* below the larger of strides=\(1, 1\)"),
    ({"output_padding": -1, "padding": 1}, "output_padding=-1 must .* at least 0"),
    ({"output_padding": (1, 1, 1), "strides": 2, "padding": 1}, "one number for each of 2 spatial axes"),
    ({"output_padding": 1, "strides": 2}, r"output_padding=\(1, 1\) needs padding in numbers, not 'SAME'"),
    ({"padding": "CAUSAL"}, "padding='CAUSAL' of a transposed convolution is not known; valid: SAME, VALID or numbers"),
    ({"padding": "CAUSAL", "kernel_size": (3,)}, "padding='CAUSAL' of a transposed convolution is not known"),
    ({"padding": -1}, "none below 0"),
    ({"padding": (1, 2, 3)}, r"one for each spatial axis \(2\)"),
    ({"groups": 3}, "groups=3 must divide in_features=4 and out_features=8"),
    ({"padding": 2}, r"input \(1, 1, 1, 4\) is too small: padding cuts off all of the output"),
    ({"kernel_size": (3,)}, r"expected \[batch, 1 spatial axes, 4\]"),
  ],
)
def test_mistakes(options, message):
  with pytest.raises(UserError, match=message) as error:
    TransposedConvolution(4, 8, **({"kernel_size": (3, 3)} | options), rngs=nnx.Rngs(0))(jnp.zeros((1, 1, 1, 4)))
  assert "\n" not in str(error.value)

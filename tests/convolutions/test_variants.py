"""Every variant against its definition, composed here of XLA's convolutions, and against its own closed forms.

The transposed convolution is compared in test_transposed.py.
"""

import zlib
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from jax import lax

from cnn_zoo.convolutions import create_convolution, initializers, list_convolutions, lowering
from cnn_zoo.errors import UserError
from tests.helpers import traced
from tests.helpers.reference import assert_close, footprint

EACH = pytest.mark.parametrize("name", list_convolutions())
CONVOLUTIONS = pytest.mark.parametrize("name", [name for name in list_convolutions() if name != "transposed"])
PADDINGS = pytest.mark.parametrize(
  ("rank", "padding"),
  [(1, "CAUSAL"), *((rank, padding) for rank in (1, 2, 3) for padding in ("SAME", "VALID", "numbers"))],
)


def on_drawn_cases(check, name, rank, padding, *, examples):
  """Calls check(case) on the same cases each time, and on others for each name, rank and padding."""
  number = zlib.crc32(f"{name} {rank} {padding}".encode())
  options = {"deadline": None, "derandomize": True, "suppress_health_check": list(HealthCheck)}
  settings(max_examples=examples, **options)(seed(number)(given(cases(name, rank, padding))(check)))()


class Case(NamedTuple):
  """A layer and an input that fits it."""

  name: str
  in_features: int
  out_features: int
  kernel_size: tuple[int, ...]
  options: dict
  input_shape: tuple[int, ...]

  def layer(self):
    """With multiples of 1/4 as parameters, whose sums and products are exact in float32."""

    def init(generator, shape, fan_in, fan_out):
      return generator.integers(-4, 5, shape) / 4

    options = {"kernel_init": init, "bias_init": init, "rngs": nnx.Rngs(1), **self.options}
    return create_convolution(self.name, self.in_features, self.out_features, self.kernel_size, **options)


@st.composite
def cases(draw, name, rank, padding):
  """What is drawn first is the first of each list, so those begin with what is most likely to go wrong."""

  def one(*values):
    return draw(st.sampled_from(values))

  def each(*values):
    return draw(st.tuples(*[st.sampled_from(values)] * rank))

  kernel_size = (1,) * rank if name == "pointwise" else each(3, 2, 1, *[4, 5] * (rank == 1))
  options = {"strides": each(2, 1, 3), "dilation": each(2, 1), "use_bias": one(True, False), "padding": padding}
  if padding == "numbers":
    few = st.sampled_from([1, 2, 0])
    uneven = st.tuples(st.sampled_from([1, 0]), st.sampled_from([2, 1, 0]))
    options["padding"] = draw(st.one_of(st.tuples(*[uneven] * rank), st.tuples(*[few] * rank), few))

  groups, a, b = one(2, 1, 3), one(1, 2), one(2, 1, 3)
  features = a, b
  if name in ("standard", "grouped", "pointwise", "spatially_separable", "dilated"):
    options["groups"], features = groups, (a * groups, b * groups)
  if name == "depthwise":
    features = a, a * b
  elif name == "depthwise_separable":
    options |= {"multiplier": one(2, 1), "activation": one("relu", None, "tanh")}
  elif name == "spatially_separable":
    options |= {"rank": one(groups, None, 2 * groups), "activation": one("relu", None, "tanh")}
    options["split"] = one("2+1", "axes") if rank == 3 else "axes"
  elif name == "inverted_bottleneck":
    options |= {"expansion": one(2, 1, 3), "activation": one("relu6", None, "tanh")}

  # From the smallest sizes that have an output, which with padding may be below the kernel's.
  spans = [(k - 1) * d + 1 for k, d in zip(kernel_size, options["dilation"], strict=True)]
  pairs = [(n - 1, 0) for n in spans] if options["padding"] == "SAME" else as_pairs(options["padding"], spans)
  least = [max(1, span - low - high) for span, (low, high) in zip(spans, pairs, strict=True)]
  sizes = [low + more for low, more in zip(least, each(2, 0, 1, 3, 4), strict=True)]
  return Case(name, *features, kernel_size, options, (one(2, 1), *sizes, features[0]))


def as_pairs(padding, spans):
  """Padding as lax takes it."""
  if padding == "CAUSAL":
    return [(spans[0] - 1, 0)]
  if padding == "VALID":
    return [(0, 0) for _ in spans]
  each = [padding] * len(spans) if isinstance(padding, int) else padding
  return padding if padding == "SAME" else [(p, p) if isinstance(p, int) else p for p in each]


def definition(case, x, kernels, biases):
  """What a layer computes, composed of XLA's convolutions."""
  options, rank = case.options, len(case.kernel_size)
  axes = "DHW"[3 - rank :]
  spans = [(k - 1) * d + 1 for k, d in zip(case.kernel_size, options["dilation"], strict=True)]
  padding = as_pairs(options["padding"], spans)
  kernels, biases = iter(kernels), iter(biases)

  def convolution(x, groups=1, along=range(rank)):
    """The next kernel with the strides, padding and dilation of the axes `along` which it works."""

    def only(values, other):
      return [value if axis in along else other for axis, value in enumerate(values)]

    y = lax.conv_general_dilated(
      x,
      next(kernels),
      only(options["strides"], 1),
      padding if padding == "SAME" else only(padding, (0, 0)),
      rhs_dilation=only(options["dilation"], 1),
      dimension_numbers=(f"N{axes}C", f"{axes}IO", f"N{axes}C"),
      feature_group_count=groups,
    )
    bias = next(biases)
    return y if bias is None else y + bias

  def activation(y):
    return y if options["activation"] is None else getattr(jax.nn, options["activation"])(y)

  if case.name == "depthwise":
    return convolution(x, case.in_features)
  if case.name == "depthwise_separable":
    return convolution(activation(convolution(x, case.in_features)), along=())
  if case.name == "inverted_bottleneck":
    y = x if options["expansion"] == 1 else activation(convolution(x, along=()))
    y = convolution(activation(convolution(y, case.in_features * options["expansion"])), along=())
    return x + y if x.shape == y.shape else y
  if case.name == "spatially_separable":
    steps = [(1, 2), (0,)] if options["split"] == "2+1" else [(a,) for a in range(rank) if case.kernel_size[a] > 1]
    for step in steps[:-1]:
      x = activation(convolution(x, options["groups"], step))
    done = {axis for step in steps[:-1] for axis in step}
    return convolution(x, options["groups"], set(range(rank)) - done)
  return convolution(x, options["groups"])


def steps(layer):
  """The convolutions of which a layer is made."""
  return getattr(layer, "convolutions", [layer])


@CONVOLUTIONS
@PADDINGS
def test_values_and_gradients(name, rank, padding):
  on_drawn_cases(check_values_and_gradients, name, rank, padding, examples=2)


def check_values_and_gradients(case):
  layer = case.layer()
  biases = [None if step.bias is None else step.bias[...] for step in steps(layer)]

  def actual(x, kernels):
    copy = nnx.clone(layer)
    for step, kernel in zip(steps(copy), kernels, strict=True):
      step.kernel.set_value(kernel)
    return copy(x)

  @jax.jit
  def run(x, kernels, g):
    both = []
    for function in (actual, lambda x, kernels: definition(case, x, kernels, biases)):
      y, vjp = jax.vjp(function, x, kernels)
      both.append(jax.tree.leaves((y, vjp(g))))
    return both

  rng = np.random.default_rng(0)
  shapes = case.input_shape, layer.output_shape(case.input_shape)
  x, g = (rng.integers(-8, 9, shape).astype(np.float32) / 4 for shape in shapes)
  for ours, theirs in zip(*run(x, [step.kernel[...] for step in steps(layer)], g), strict=True):
    assert_close(ours, np.asarray(theirs))


@CONVOLUTIONS
@PADDINGS
def test_closed_forms(name, rank, padding):
  """Sizes and costs, told before anything runs, against the parameters and the traced program."""
  on_drawn_cases(check_closed_forms, name, rank, padding, examples=4)


def check_closed_forms(case):
  layer = case.layer()
  x = jax.ShapeDtypeStruct(case.input_shape, jnp.float32)
  with lowering("lax"):
    program = jax.make_jaxpr(layer)(x)
  assert program.out_avals[0].shape == layer.output_shape(case.input_shape)
  assert traced.multiply_adds(program.jaxpr) == layer.multiply_adds(case.input_shape)
  assert sum(p.size for p in jax.tree.leaves(nnx.state(layer, nnx.Param))) == layer.parameters()


@EACH
@pytest.mark.parametrize(
  ("kernel_size", "strides", "dilation"),
  [((5,), (2,), (1,)), ((4,), (3,), (2,)), ((3, 2), (1, 2), (2, 1)), ((3, 1, 2), (2, 1, 1), (1, 1, 3))],
  ids=["5/2", "4/3, dilated", "3x2", "3x1x2"],
)
def test_receptive_field(name, kernel_size, strides, dilation):
  if name == "pointwise":
    kernel_size = (1,) * len(kernel_size)
  options = {"strides": strides, "dilation": dilation, "kernel_init": initializers.ones, "rngs": nnx.Rngs(0)}
  layer = create_convolution(name, 2, 2, kernel_size, **options)
  assert layer.receptive_field() == footprint(layer, (1, *(10,) * len(kernel_size), 2))


def test_receptive_fields_of_known_layers():
  def field(name, kernel_size, **options):
    return create_convolution(name, 2, 2, kernel_size, **options, rngs=nnx.Rngs(0)).receptive_field()

  assert field("standard", (7, 7), strides=2) == (7, 7)
  assert field("dilated", (3,), dilation=8) == (17,)
  assert field("spatially_separable", (3, 5)) == field("depthwise_separable", (3, 5)) == (3, 5)
  assert field("transposed", (2, 4), strides=2) == (1, 2)


@EACH
@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"strides": 0}, "strides=0 must be at least 1 in every axis"),
    ({"strides": (1, -1)}, r"strides=\(1, -1\) must be at least 1"),
    ({"dilation": 0}, "dilation=0 must be at least 1"),
    ({"strides": (1, 1, 1)}, r"strides=\(1, 1, 1\) has 3 axes; valid: one number, or one for each of 2 axes"),
    ({"padding": "CAUSAL"}, "padding='CAUSAL' "),
    ({"padding": "SAEM"}, "padding='SAEM' .*is not known; valid: SAME, VALID"),
    ({"padding": -1}, "padding=-1 must be .* none below 0"),
    ({"padding": ((1, 1, 1), (0, 0))}, "padding=.* must be a number, one for each spatial axis"),
    ({"stride": 2}, "has no option 'stride'; did you mean strides?"),
    ({"kernel_size": 3}, "kernel_size=3 must have one size for each spatial axis"),
    ({"kernel_size": (1, 0)}, r"kernel_size=\(1, 0\) must be at least 1 in every axis"),
    ({"features": (0, 4)}, "in_features=0 and out_features=. must be at least 1"),
    ({"features": (4, 0)}, "out_features=0 must be at least 1"),
  ],
  ids=str,
)
def test_mistakes_of_every_variant(name, options, message):
  """They are told when the layer is built."""
  ones = (1, 1) if name == "pointwise" else (3, 3)
  kernel_size, features = options.get("kernel_size", ones), options.get("features", (4, 4))
  options = {option: value for option, value in options.items() if option not in ("kernel_size", "features")}
  with pytest.raises(UserError, match=message) as error:
    create_convolution(name, *features, kernel_size, **options, rngs=nnx.Rngs(0))
  assert "\n" not in str(error.value)


@EACH
@pytest.mark.parametrize("shape", [(1, 8, 4), (1, 8, 8, 8, 4), (8, 8, 4), (1, 8, 8, 3)])
def test_an_input_that_does_not_fit(name, shape):
  layer = create_convolution(name, 4, 4, (1, 1) if name == "pointwise" else (3, 3), rngs=nnx.Rngs(0))
  for use in (lambda: layer(jnp.zeros(shape)), lambda: layer.output_shape(shape), lambda: layer.multiply_adds(shape)):
    with pytest.raises(UserError, match=r"input .* does not fit .*: expected \[batch, 2 spatial axes, 4\]$"):
      use()


@pytest.mark.parametrize(
  ("name", "features", "kernel_size", "options", "message"),
  [
    ("grouped", (4, 6), (3, 3), {"groups": 4}, "groups=4 must divide in_features=4 and out_features=6"),
    ("grouped", (3, 4), (3, 3), {}, "groups=2 must divide in_features=3"),
    ("standard", (4, 4), (3, 3), {"groups": 0}, "groups=0 must divide"),
    ("depthwise", (4, 6), (3, 3), {}, "out_features=6 of a depthwise convolution must be a multiple of in_features=4"),
    ("depthwise", (4, 8), (3, 3), {"multiplier": 3}, "multiplier=3 makes 12 features, not out_features=8"),
    ("depthwise", (4, 4), (3, 3), {"groups": 2}, "depthwise has no option 'groups'; valid: bias_init"),
    ("pointwise", (4, 4), (3, 3), {}, r"kernel_size=\(3, 3\) of a pointwise convolution must be 1 in every axis"),
    ("depthwise_separable", (4, 4), (3, 3), {"multiplier": 0}, "multiplier=0 must be at least 1"),
    ("spatially_separable", (4, 4), (3, 3), {"rank": 0}, "rank=0 must be at least 1 and a multiple of groups=1"),
    ("spatially_separable", (4, 4), (3, 3), {"rank": 3, "groups": 2}, "rank=3 must be at least 1 and a multiple of g"),
    ("spatially_separable", (4, 4), (3, 3), {"split": "2+1"}, r"split='2\+1' needs a kernel of rank 3, .* has rank 2"),
    ("spatially_separable", (4, 4), (3, 3), {"split": "1+2"}, r"split='1\+2' is not known; valid: 2\+1, axes"),
    ("inverted_bottleneck", (4, 4), (3, 3), {"expansion": 0}, "expansion=0 must be at least 1"),
    ("inverted_bottleneck", (4, 4), (3, 3), {"activation": "rellu"}, "activation='rellu' is not known; did you mean"),
    ("depthwise_separable", (4, 4), (3, 3), {"activation": "swiss"}, "activation='swiss' is not known; "),
    ("transposd", (4, 4), (3, 3), {}, "convolution='transposd' is not known; did you mean transposed"),
  ],
)
def test_mistakes_of_one_variant(name, features, kernel_size, options, message):
  with pytest.raises(UserError, match=message) as error:
    create_convolution(name, *features, kernel_size, **options, rngs=nnx.Rngs(0))
  assert "\n" not in str(error.value)

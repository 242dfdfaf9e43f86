import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from cnn_zoo.convolutions import Convolution, TransposedConvolution, lowering
from cnn_zoo.convolutions.lowerings import (
  columns,
  depthwise,
  few_channels,
  grouped_columns,
  lax,
  matmul,
  overlap_add,
  rules,
  slices,
  winograd,
  winograd_dilated,
)
from cnn_zoo.convolutions.lowerings.choice import choose
from cnn_zoo.convolutions.lowerings.windows import Geometry
from tests.helpers.lowerings import EXAMPLES


def choice(sizes, kernel_shape, groups=1, strides=1, dilation=1, dtype=np.float32, batch=8, transposed=False):
  """What the table gives on a CPU."""
  rank = len(sizes)
  x = jax.ShapeDtypeStruct((batch, *sizes, kernel_shape[-2] * groups), dtype)
  geometry = Geometry((strides,) * rank, ((1, 1),) * rank, (dilation,) * rank, groups)
  arguments = x, jax.ShapeDtypeStruct(kernel_shape, dtype), geometry
  with lowering("auto", platform="cpu"):
    if transposed:
      return choose(rules.TRANSPOSED_RULES, lax.convolve_transposed, *arguments)
    chosen = choose(rules.RULES, lax.convolve, *arguments)
    return getattr(chosen, "func", chosen)


LARGE = (56, 56), (3, 3, 64, 64)


@pytest.mark.parametrize(
  ("expected", "shape", "options"),
  [
    (depthwise.convolve, ((8, 8), (3, 3, 1, 16), 16), {}),
    (grouped_columns.convolve, ((8, 8), (3, 3, 4, 16), 4), {}),
    (matmul.convolve, ((8, 8), (1, 1, 16, 16)), {}),
    (few_channels.convolve, ((8, 8), (3, 3, 3, 16)), {}),
    (few_channels.convolve, ((8, 8, 8), (3, 3, 3, 3, 16)), {}),
    (lax.convolve, ((8, 8), (3, 3, 3, 16)), {"dilation": 2}),
    (slices.convolve, ((8, 8, 8), (3, 3, 3, 16, 16)), {}),
    (columns.convolve, ((2, 9), (3, 3, 16, 16)), {}),
    (columns.convolve, ((4, 4), (3, 3, 16, 16)), {"strides": 2}),
    (winograd.convolve, LARGE, {}),
    (winograd_dilated.convolve, LARGE, {"dilation": 2}),
    (winograd_dilated.convolve, LARGE, {"dilation": 4}),
    (lax.convolve, LARGE, {"strides": 2}),
    (lax.convolve, LARGE, {"dilation": 5}),
    (lax.convolve, LARGE, {"dtype": jnp.bfloat16}),
    (lax.convolve, ((8, 8), (3, 3, 64, 64)), {}),
    (overlap_add.convolve_transposed, ((8, 8), (3, 3, 16, 16)), {"strides": 2, "transposed": True}),
    (lax.convolve_transposed, ((8, 8), (3, 3, 16, 16)), {"strides": 2, "dilation": 2, "transposed": True}),
    (lax.convolve_transposed, ((8, 8), (3, 3, 8, 16), 2), {"strides": 2, "transposed": True}),
  ],
)
def test_choice_on_a_cpu(expected, shape, options):
  assert choice(*shape, **options) is expected


def test_choice_for_a_symbolic_batch():
  """The work of one example decides, as the batch is not known."""
  (batch,) = jax.export.symbolic_shape("batch")
  assert choice((112, 112), (3, 3, 64, 64), batch=batch) is winograd.convolve
  assert choice((56, 56), (3, 3, 64, 64), batch=batch) is lax.convolve
  assert choice((8, 8), (3, 3, 1, 16), 16, batch=batch) is depthwise.convolve


def test_every_lowering_of_the_table_has_an_example():
  """By which tests check its derivatives and symbolic batches."""
  checked = {getattr(example.lowering, "func", example.lowering) for example in EXAMPLES.values()}
  for rule in (*rules.RULES, *rules.TRANSPOSED_RULES):
    assert getattr(rule.lowering, "func", rule.lowering) in checked


@pytest.mark.parametrize(
  "layer",
  [Convolution(2, 3, (3, 3), rngs=nnx.Rngs(0)), TransposedConvolution(2, 3, (3, 3), strides=2, rngs=nnx.Rngs(0))],
)
def test_one_jitted_layer_under_each_setting(layer):
  """A function that was traced outside the context is traced again inside."""
  graph, state = nnx.split(layer)
  run = jax.jit(lambda state, x: nnx.merge(graph, state)(x))
  x = jax.ShapeDtypeStruct((1, 6, 6, 2), jnp.float32)
  for setting, by_lax in [
    (("auto", "cpu"), False),
    (("lax",), True),
    (("auto", "cpu"), False),
    (("auto", "tpu"), True),
  ]:
    with lowering(*setting):
      assert ("stablehlo.convolution" in run.lower(state, x).as_text()) == by_lax

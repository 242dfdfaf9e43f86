"""The lowering that a program is compiled with."""

import jax
import jax.numpy as jnp

from cnn_zoo.benchmarks.compilation import compile_with
from cnn_zoo.benchmarks.convolutions import convolution
from cnn_zoo.benchmarks.shapes import Shape


def test_each_lowering_is_traced():
  """Also for the same function. On a CPU only "lax" has XLA's convolutions; elsewhere both have."""
  shape = Shape("tiny", (5, 6), (4, 4), (3, 3), stride=2, groups=4, batch=2)
  x, kernel = jnp.ones(shape.input_shape), jnp.ones(shape.kernel_shape)

  def function(x, kernel):
    return convolution(shape, x, kernel)

  texts = [compile_with(how, function, x, kernel).as_text() for how in ("lax", "auto", "lax")]
  assert ["convolution(" in text for text in texts] == [True, jax.default_backend() != "cpu", True]

import jax
import numpy as np
import pytest

from cnn_zoo.convolutions.lowerings import lax, overlap_add
from cnn_zoo.convolutions.lowerings.windows import Geometry
from tests.helpers.lowerings import normal
from tests.helpers.model_checks import QUICK
from tests.helpers.reference import assert_close


@pytest.mark.parametrize(
  ("sizes", "kernel_size", "strides", "crops"),
  [
    ((5,), (4,), (2,), ((1, 1),)),
    ((4,), (2,), (3,), ((0, -1),)),  # zeros between the copies and at the end
    ((3, 4), (3, 5), (2, 1), ((0, 2), (1, 0))),
    ((2, 3, 2), (2, 3, 4), (2, 2, 3), ((0, 0), (1, 1), (2, -2))),
  ],
)
def test_against_lax(sizes, kernel_size, strides, crops):
  x, kernel = normal((2, *sizes, 3), (*kernel_size, 3, 4))
  geometry = Geometry(strides, crops, (1,) * len(sizes))

  def run(x, kernel):
    for function in (overlap_add.convolve_transposed, lax.convolve_transposed):
      y, pull = jax.vjp(lambda x, kernel, f=function: f(x, kernel, geometry), x, kernel)
      yield y, *pull(y)

  ours, theirs = jax.jit(lambda x, kernel: tuple(run(x, kernel)), compiler_options=QUICK)(x, kernel)
  for a, b in zip(ours, theirs, strict=True):
    assert_close(a, np.asarray(b, np.float64))

"""The first layer of a network: few input channels, many positions.

XLA's CPU convolution computes both gradients of such a layer several times slower than they are computed here: the one
by the input as overlap-add, the one by the kernel from columns.
"""

import math

from cnn_zoo.convolutions.lowerings import columns, lax
from cnn_zoo.convolutions.lowerings.derivatives import with_gradients
from cnn_zoo.convolutions.lowerings.overlap_add import input_gradient
from cnn_zoo.convolutions.lowerings.windows import Geometry

_MOST_TAPS = 27  # the columns of larger kernels take longer to write than they save


def convolve(x, kernel, geometry: Geometry):
  """The undilated convolution of x [batch, *spatial, in] by kernel [*kernel_size, in, out], without groups."""
  by = _by_columns if math.prod(kernel.shape[:-2]) <= _MOST_TAPS else _by_lax
  return by(x, kernel, geometry)


_by_columns = with_gradients(columns.convolve, input_gradient, columns.kernel_gradient)
_by_lax = with_gradients(lax.convolve, input_gradient, columns.kernel_gradient)

"""A 1 x 1 convolution as a matrix product over the channels."""

from jax import lax

from cnn_zoo.convolutions.lowerings.derivatives import form
from cnn_zoo.convolutions.lowerings.windows import Geometry, cut, once, pad

_WIDE = 192  # input channels from which the gradient by the kernel is computed from a transposed copy


def convolve(x, kernel, geometry: Geometry):
  """The convolution of x [batch, *spatial, in] by a kernel of one tap [1, ..., 1, in, out], without groups."""
  sizes = geometry.output_sizes(x, kernel)
  x = pad(x, geometry.padding)
  x = cut(x, (0,) * len(sizes), sizes, geometry.strides) if max(geometry.strides) > 1 else x
  rows, matrix = x.reshape(-1, x.shape[-1]), kernel.reshape(kernel.shape[-2:])
  y = _product.derivative(2, (rows, matrix), (rows.shape[1:], matrix.shape, matrix.shape[1:]), None)
  return y.reshape(*x.shape[:-1], kernel.shape[-1])


def _rows_gradient(matrix, g, *, shape, static):
  del shape, static
  return g @ matrix.T


def _matrix_gradient(rows, g, *, shape, static):
  """With many channels a transposed copy costs less than what XLA loses by contracting over rows."""
  del shape, static
  return once(rows.T) @ g if rows.shape[1] >= _WIDE else lax.dot_general(rows, g, (((0,), (0,)), ((), ())))


def _rows_by_matrix(rows, matrix, *, shape, static):
  del shape, static
  return rows @ matrix


_product = form(_rows_gradient, _matrix_gradient, _rows_by_matrix, batched=(True, False, True))

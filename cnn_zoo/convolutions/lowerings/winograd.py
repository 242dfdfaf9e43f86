"""Winograd's minimal filtering F(2 x 2, 3 x 3) (Lavin and Gray 2016, Fast algorithms for convolutional networks).

Four outputs of a 3 x 3 convolution of stride 1 take 16 multiplications for each channel instead of 36, after sums over
the 4 x 4 inputs under them. The 16 products over channels are plain matrix products. A matrix product on a CPU runs
near the peak, XLA's 3 x 3 convolution at about half of it, so this is about twice as fast. Errors are a few units in
the last place larger than those of direct summation.
"""

import jax.numpy as jnp
from jax import lax

from cnn_zoo.convolutions.lowerings.derivatives import with_gradients
from cnn_zoo.convolutions.lowerings.windows import Geometry, cut, once, pad


def convolve(x, kernel, geometry: Geometry):
  """The convolution of x [batch, height, width, in] by kernel [3, 3, in, out] with strides and dilation 1."""
  return _convolve(x, kernel, geometry)


def _forward(x, kernel, geometry: Geometry):
  kernels = _two_axes(_kernel_transform, [[kernel[i, j] for j in range(3)] for i in range(3)])
  return _filter(x, kernels, geometry.padding, geometry.output_sizes(x, kernel))


def _input_gradient(g, kernel, sizes, geometry: Geometry):
  """The gradient by an input of spatial `sizes`: the convolution of g by the kernel rotated by 180 degrees."""
  kernels = _two_axes(_kernel_transform, [[kernel[2 - i, 2 - j] for j in range(3)] for i in range(3)])
  kernels = [[once(u).T for u in row] for row in kernels]  # [out, in]
  before = [2 - low for low, _ in geometry.padding]
  after = [size - n + 2 - low for size, n, low in zip(sizes, g.shape[1:-1], before, strict=True)]
  return _filter(g, kernels, tuple(zip(before, after, strict=True)), sizes)


def _filter(x, kernels, padding, sizes):
  """The outputs of spatial `sizes` from x and the 4 x 4 transformed kernels [in, out]."""
  tiles = [-(-n // 2) for n in sizes]
  inputs = _input_tiles(x, padding, tiles)
  products = [
    [(v @ u).reshape(x.shape[0], *tiles, -1) for v, u in zip(vs, us, strict=True)]
    for vs, us in zip(inputs, kernels, strict=True)
  ]
  rows = [jnp.stack(outputs, 3) for outputs in _two_axes(_output_transform, products)]
  y = jnp.stack(rows, 2).reshape(x.shape[0], 2 * tiles[0], 2 * tiles[1], -1)
  return y[:, : sizes[0], : sizes[1]]


def _kernel_gradient(x, g, kernel_shape, geometry: Geometry):
  """The gradient by the kernel: `_forward` transposed, so that its 16 products contract over the tiles."""
  tiles = [-(-n // 2) for n in g.shape[1:-1]]
  inputs = _input_tiles(x, geometry.padding, tiles)
  g = once(pad(g, [(0, 2 * t - n) for t, n in zip(tiles, g.shape[1:-1], strict=True)]))
  corners = [[cut(g, (i, j), tiles, (2, 2)) for j in range(2)] for i in range(2)]
  outputs = _two_axes(_output_transform_transposed, corners)
  products = [
    [_contract_rows(v, once(w.reshape(-1, w.shape[-1]))) for v, w in zip(vs, ws, strict=True)]
    for vs, ws in zip(inputs, outputs, strict=True)
  ]
  gradient = _two_axes(_kernel_transform_transposed, products)
  return jnp.stack([jnp.stack(row) for row in gradient]).reshape(kernel_shape)


_convolve = with_gradients(_forward, _input_gradient, _kernel_gradient)


def _input_tiles(x, padding, tiles):
  """The transformed 4 x 4 tiles of x: 4 x 4 matrices [batch * tiles, in], each computed once."""
  lows = [low for low, _ in padding]
  ends = [2 * t + 2 - n - low for t, n, low in zip(tiles, x.shape[1:-1], lows, strict=True)]
  x = once(pad(x, tuple(zip(lows, ends, strict=True))))
  windows = [[cut(x, (i, j), tiles, (2, 2)) for j in range(4)] for i in range(4)]
  return [[once(v.reshape(-1, x.shape[-1])) for v in row] for row in _two_axes(_input_transform, windows)]


def _contract_rows(a, b):
  return lax.dot_general(a, b, (((0,), (0,)), ((), ())))


def _two_axes(transform, matrix):
  """`transform` along the rows and then the columns of a matrix of arrays."""
  rows = [transform(row) for row in matrix]
  columns = [transform(column) for column in zip(*rows, strict=True)]
  return [list(row) for row in zip(*columns, strict=True)]


# The transforms of Lavin and Gray (2016, section 4.1) along one axis: B^T, G and A^T, and G^T and A for the gradient.


def _input_transform(d):
  return [d[0] - d[2], d[1] + d[2], d[2] - d[1], d[1] - d[3]]


def _kernel_transform(g):
  return [g[0], (g[0] + g[1] + g[2]) / 2, (g[0] - g[1] + g[2]) / 2, g[2]]


def _output_transform(m):
  return [m[0] + m[1] + m[2], m[1] - m[2] - m[3]]


def _output_transform_transposed(y):
  return [y[0], y[0] + y[1], y[0] - y[1], -y[1]]


def _kernel_transform_transposed(m):
  return [m[0] + (m[1] + m[2]) / 2, (m[1] - m[2]) / 2, (m[1] + m[2]) / 2 + m[3]]

"""A dilated 3 x 3 convolution as undilated ones of smaller images, by Winograd's minimal filtering."""

from cnn_zoo.convolutions.lowerings import winograd
from cnn_zoo.convolutions.lowerings.windows import Geometry, once, pad


def convolve(x, kernel, geometry: Geometry):
  """The convolution of x [batch, height, width, in] by kernel [3, 3, in, out] with strides 1, without groups.

  With dilation d every d-th row and column form an image of their own, under a kernel that is not dilated.
  """
  batch, sizes = x.shape[0], geometry.output_sizes(x, kernel)
  d = geometry.dilation
  # Padded so that the d x d images have one size.
  images = [-(-n // step) for n, step in zip(sizes, d, strict=True)]
  lows = [low for low, _ in geometry.padding]
  ends = [(m + 2) * step - n - low for m, step, n, low in zip(images, d, x.shape[1:-1], lows, strict=True)]
  x = pad(x, tuple(zip(lows, ends, strict=True)))
  x = x.reshape(batch, images[0] + 2, d[0], images[1] + 2, d[1], -1).transpose(2, 4, 0, 1, 3, 5)
  x = once(x).reshape(d[0] * d[1] * batch, images[0] + 2, images[1] + 2, -1)
  y = winograd.convolve(x, kernel, Geometry((1, 1), ((0, 0), (0, 0)), (1, 1)))
  y = y.reshape(*d, batch, *images, -1).transpose(2, 3, 0, 4, 1, 5)
  return once(y).reshape(batch, images[0] * d[0], images[1] * d[1], -1)[:, : sizes[0], : sizes[1]]

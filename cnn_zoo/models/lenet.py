"""LeNet: the paper's, and the one that is usually drawn, with max-pooling.

Sources: LeCun, Bottou, Bengio and Haffner 1998, Gradient-based learning applied to document recognition;
deeplearning.net 2010, Convolutional Neural Networks (LeNet).
"""

import math
from collections import OrderedDict

import jax
import jax.numpy as jnp
from flax import nnx

from cnn_zoo.convolutions import Convolution
from cnn_zoo.convolutions.initializers import glorot_uniform, lecun_uniform, zeros
from cnn_zoo.layers import Linear, adaptive_average_pool, average_pool, global_average_pool, max_pool
from cnn_zoo.models.network import Network
from cnn_zoo.models.registry import Setting, register


class LeNet5(Network):
  """Figure 2 of the paper with full connections: 61,706 parameters for one channel of 32 x 32 and 10 classes.

  Subsampling is a plain average and the classifier is linear; the paper's trained coefficients and radial basis units
  are left out, as everywhere since. C5, which is a convolution in the paper too, sees 32 x 32 pixels: of a larger input
  it gives a map, and F6 takes the mean over it.

  Features: "s2" and "s4", subsampled to a half and a quarter of the input's size, and "c5".

  Args:
    num_classes, in_channels, dtype, rngs: as `create_model`; num_classes=None leaves the classifier out.
    rank: number of spatial axes.
  """

  def __init__(self, *, num_classes: int | None, in_channels: int, rank: int = 2, dtype, rngs: nnx.Rngs):
    super().__init__(num_classes, dtype)
    conv: dict = {"kernel_size": (5,) * rank, "padding": "VALID", "kernel_init": lecun_uniform, "rngs": rngs}
    self.c1 = Convolution(in_channels, 6, **conv)
    self.c3 = Convolution(6, 16, **conv)
    self.c5 = Convolution(16, 120, **conv)
    if num_classes is not None:
      self.f6 = Linear(120, 84, rngs=rngs)
      self.output = Linear(84, num_classes, rngs=rngs)

  def features(self, x: jax.Array) -> OrderedDict[str, jax.Array]:
    """x [batch, *spatial, in_channels], at least 32 along every axis -> the maps of S2, S4 and C5."""
    maps, window = OrderedDict(), (2,) * (x.ndim - 2)
    maps["s2"] = average_pool(jnp.tanh(self.c1(x.astype(self.dtype))), window, 2)
    maps["s4"] = average_pool(jnp.tanh(self.c3(maps["s2"])), window, 2)
    maps["c5"] = jnp.tanh(self.c5(maps["s4"]))
    return maps

  def logits(self, x: jax.Array) -> jax.Array:
    """The map of C5 -> logits [batch, num_classes]."""
    return self.output(jnp.tanh(self.f6(global_average_pool(x)))).astype(jnp.float32)


class LeNetMaxPool(Network):
  """deeplearning.net's LeNet: 431,080 parameters for one channel of 28 x 28 and 10 classes.

  Two convolutions 5 x 5 without padding (20 and 50 kernels), each with max-pooling 2 x 2 and tanh, a layer of 500 tanh
  units and logistic regression. From maps of another size than that of 28 x 28 pixels it takes means over 4 x 4 cells.

  Features: "conv1" and "conv2", pooled to a half and a quarter of the input's size.

  Args:
    num_classes, in_channels, dtype, rngs: as `create_model`; num_classes=None leaves the classifier out.
    rank: number of spatial axes.
  """

  def __init__(self, *, num_classes: int | None, in_channels: int, rank: int = 2, dtype, rngs: nnx.Rngs):
    super().__init__(num_classes, dtype)

    def pooled(generator, shape, fan_in, fan_out):  # pooling keeps only one of 2 x 2 outputs
      return glorot_uniform(generator, shape, fan_in, fan_out / 2**rank)

    conv: dict = {"kernel_size": (5,) * rank, "padding": "VALID", "kernel_init": pooled, "rngs": rngs}
    self.conv1 = Convolution(in_channels, 20, **conv)
    self.conv2 = Convolution(20, 50, **conv)
    if num_classes is not None:
      self.hidden = Linear(50 * 4**rank, 500, kernel_init=glorot_uniform, rngs=rngs)
      self.classifier = Linear(500, num_classes, kernel_init=zeros, rngs=rngs)

  def features(self, x: jax.Array) -> OrderedDict[str, jax.Array]:
    """x [batch, *spatial, in_channels], at least 16 along every axis -> the maps of both stages."""
    maps, window = OrderedDict(), (2,) * (x.ndim - 2)
    maps["conv1"] = jnp.tanh(max_pool(self.conv1(x.astype(self.dtype)), window, 2))
    maps["conv2"] = jnp.tanh(max_pool(self.conv2(maps["conv1"]), window, 2))
    return maps

  def logits(self, x: jax.Array) -> jax.Array:
    """The map of the second stage -> logits [batch, num_classes]."""
    x = jnp.moveaxis(adaptive_average_pool(x, (4,) * (x.ndim - 2)), -1, 1)
    x = jnp.tanh(self.hidden(x.reshape(x.shape[0], math.prod(x.shape[1:]))))
    return self.classifier(x).astype(jnp.float32)


register("lenet5", LeNet5, Setting((32, 32, 1), num_classes=10))
register("lenet_maxpool", LeNetMaxPool, Setting((28, 28, 1), num_classes=10))

"""LeNet-5 (LeCun, Bottou, Bengio and Haffner 1998, Gradient-based learning applied to document recognition)."""

import jax
import jax.numpy as jnp
from flax import nnx

from cnn_zoo.convolutions import Convolution
from cnn_zoo.convolutions.initializers import lecun_uniform
from cnn_zoo.layers import Linear, average_pool
from cnn_zoo.models.registry import Setting, register


class LeNet5(nnx.Module):
  """Figure 2 of the paper with full connections: 61,706 parameters for one channel of 32 x 32 and 10 classes.

  Subsampling is a plain average and the classifier is linear; the paper's trained coefficients and radial basis units
  are left out, as everywhere since. It takes inputs of 32 x 32.
  """

  def __init__(self, *, num_classes: int, in_channels: int, dtype, rngs: nnx.Rngs):
    self.dtype = dtype
    conv = {"padding": "VALID", "kernel_init": lecun_uniform, "rngs": rngs}
    self.c1 = Convolution(in_channels, 6, (5, 5), **conv)
    self.c3 = Convolution(6, 16, (5, 5), **conv)
    self.c5 = Convolution(16, 120, (5, 5), **conv)
    self.f6 = Linear(120, 84, rngs=rngs)
    self.output = Linear(84, num_classes, rngs=rngs)

  def __call__(self, x: jax.Array) -> jax.Array:
    """x [batch, 32, 32, in_channels] -> logits [batch, num_classes]."""
    x = x.astype(self.dtype)
    x = average_pool(jnp.tanh(self.c1(x)), (2, 2), 2)
    x = average_pool(jnp.tanh(self.c3(x)), (2, 2), 2)
    x = jnp.tanh(self.c5(x))
    x = jnp.tanh(self.f6(x.mean((1, 2))))
    return self.output(x).astype(jnp.float32)


register("lenet5", LeNet5, Setting((32, 32, 1), num_classes=10))

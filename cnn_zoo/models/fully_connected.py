"""The head of AlexNet, ZFNet, VGG and C3D."""

import jax
import jax.numpy as jnp
from flax import nnx

from cnn_zoo.convolutions.initializers import Initializer, zeros
from cnn_zoo.layers import Dropout, Linear, adaptive_average_pool


class FullyConnectedHead(nnx.Module):
  """Two hidden fully connected layers with dropout, and a linear classifier, over a grid of fixed size.

  A map of another size is first averaged over the cells of the grid, so that the network takes inputs of other sizes
  than its own (torchvision's AdaptiveAvgPool).

  Args:
    features: channels of the map.
    cells: cells of the grid along each of `rank` axes.
    num_classes: width of the logits.
    rank: number of spatial axes.
    hidden_features: units of each hidden layer.
    dropout_rate: of both dropout layers.
    dropout_first: drops the inputs of the hidden layers instead of their outputs.
    kernel_init: of all three layers.
    hidden_bias_init, bias_init: of the hidden layers, and of the classifier.
    rngs: the source of initial values and noise.
  """

  def __init__(
    self,
    features: int,
    cells: int,
    num_classes: int,
    *,
    rank: int,
    hidden_features: int,
    dropout_rate: float,
    dropout_first: bool = False,
    kernel_init: Initializer,
    hidden_bias_init: Initializer = zeros,
    bias_init: Initializer = zeros,
    rngs: nnx.Rngs,
  ):
    self.grid, self.dropout_first = (cells,) * rank, dropout_first
    hidden: dict = {"kernel_init": kernel_init, "bias_init": hidden_bias_init, "rngs": rngs}
    sizes = (features * cells**rank, hidden_features, hidden_features)
    self.hidden = nnx.List([Linear(sizes[0], sizes[1], **hidden), Linear(sizes[1], sizes[2], **hidden)])
    self.dropouts = nnx.List([Dropout(dropout_rate, rngs=rngs) for _ in self.hidden])
    self.classifier = Linear(hidden_features, num_classes, kernel_init=kernel_init, bias_init=bias_init, rngs=rngs)

  def __call__(self, x: jax.Array) -> jax.Array:
    """x [batch, *spatial, features] -> logits [batch, num_classes], float32."""
    x = jnp.moveaxis(adaptive_average_pool(x, self.grid), -1, 1).reshape(x.shape[0], -1)
    for layer, dropout in zip(self.hidden, self.dropouts, strict=True):
      x = dropout(x) if self.dropout_first else x
      x = jax.nn.relu(layer(x))
      x = x if self.dropout_first else dropout(x)
    return self.classifier(x).astype(jnp.float32)

"""ZFNet (Zeiler and Fergus 2014, Visualizing and Understanding Convolutional Networks)."""

from collections import OrderedDict
from typing import NamedTuple

import jax
from flax import nnx

from cnn_zoo.convolutions import Convolution
from cnn_zoo.convolutions.initializers import normal
from cnn_zoo.layers import local_response_normalization, max_pool
from cnn_zoo.models.fully_connected import FullyConnectedHead
from cnn_zoo.models.network import Network
from cnn_zoo.models.registry import register


class Layer(NamedTuple):
  """A convolution with ReLU, and what follows it."""

  channels: int
  kernel: int
  stride: int = 1
  padding: int = 0
  pooled: bool = False  # max-pooling follows
  normalized: bool = False  # contrast normalisation across feature maps follows the pooling


# Figure 3. The padding is what its map sizes (110, 26, 13) take.
LAYERS = (
  Layer(96, 7, stride=2, padding=1, pooled=True, normalized=True),
  Layer(256, 5, stride=2, pooled=True, normalized=True),
  Layer(384, 3, padding=1),
  Layer(384, 3, padding=1),
  Layer(256, 3, padding=1, pooled=True),
)
POOL, POOL_STRIDE = 3, 2
GRID = 6  # cells of the last map along each axis


class ZFNet(Network):
  """Eight layers: AlexNet with smaller filters and strides in the first two, and dense connections in the others.

  Pooling keeps a last window that reaches beyond the map (110 -> 55, 26 -> 13). The paper gives no formula for its
  contrast normalisation; this is AlexNet's local response normalisation.

  Features: "conv1" to "conv5", after the pooling and normalisation of each layer; their reductions are 4, 16, 16, 16
  and 32.

  Args:
    num_classes, in_channels, dtype, rngs: as `create_model`; num_classes=None leaves the classifier out.
    rank: number of spatial axes.
    hidden_features: units of the two hidden fully connected layers.
    dropout_rate: of their outputs.
  """

  def __init__(
    self,
    *,
    num_classes: int | None,
    in_channels: int,
    rank: int = 2,
    hidden_features: int = 4096,
    dropout_rate: float = 0.5,
    dtype,
    rngs: nnx.Rngs,
  ):
    super().__init__(num_classes, dtype)
    init = normal(0.01)  # section 3; biases start at 0
    features, convolutions = in_channels, []
    for layer in LAYERS:
      space: dict = {"strides": layer.stride, "padding": layer.padding}
      kernel = (layer.kernel,) * rank
      convolutions.append(Convolution(features, layer.channels, kernel, **space, kernel_init=init, rngs=rngs))
      features = layer.channels
    self.convolutions = nnx.List(convolutions)
    if num_classes is not None:
      self.head = FullyConnectedHead(
        features,
        GRID,
        num_classes,
        rank=rank,
        hidden_features=hidden_features,
        dropout_rate=dropout_rate,
        kernel_init=init,
        rngs=rngs,
      )

  def features(self, x: jax.Array) -> OrderedDict[str, jax.Array]:
    """x [batch, *spatial, in_channels] -> the maps after each layer."""
    x, maps = x.astype(self.dtype), OrderedDict()
    for number, (layer, convolution) in enumerate(zip(LAYERS, self.convolutions, strict=True), start=1):
      x = jax.nn.relu(convolution(x))
      x = max_pool(x, (POOL,) * (x.ndim - 2), POOL_STRIDE, ceil_mode=True) if layer.pooled else x
      x = local_response_normalization(x) if layer.normalized else x
      maps[f"conv{number}"] = x
    return maps

  def logits(self, x: jax.Array) -> jax.Array:
    """The last map -> logits [batch, num_classes]."""
    return self.head(x)


register("zfnet", ZFNet)

"""VGG (Simonyan and Zisserman 2014, Very Deep Convolutional Networks for Large-Scale Image Recognition)."""

from collections.abc import Sequence

import jax
from flax import nnx

from cnn_zoo.convolutions import Convolution
from cnn_zoo.convolutions.initializers import he_normal_fan_out, normal
from cnn_zoo.layers import BatchNorm, max_pool, run_blocks
from cnn_zoo.models.fully_connected import FullyConnectedHead
from cnn_zoo.models.registry import register

# Table 1, columns A, B, D and E: convolutions in each stage, by the number of layers with weights.
LAYERS = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
CHANNELS = (64, 128, 256, 512, 512)  # of all convolutions of a stage
GRID = 7  # cells of the last map along each axis


class Stage(nnx.Module):
  """3 x 3 convolutions of stride 1 with ReLU, and max-pooling 2 x 2 of stride 2.

  Args:
    layers: number of convolutions.
    batch_norm: normalises between convolution and ReLU.
  """

  def __init__(self, in_channels: int, channels: int, layers: int, *, batch_norm: bool, rank: int = 2, rngs: nnx.Rngs):
    inputs = (in_channels, *[channels] * (layers - 1))
    # He's, as torchvision; the paper's own starts deep networks from the trained layers of the shallowest.
    conv = {"kernel_size": (3,) * rank, "padding": 1, "kernel_init": he_normal_fan_out, "rngs": rngs}
    self.convolutions = nnx.List([Convolution(features, channels, **conv) for features in inputs])
    self.norms = nnx.List([BatchNorm(channels) if batch_norm else None for _ in inputs])

  def __call__(self, x: jax.Array) -> jax.Array:
    """x [batch, *spatial, in_channels] -> [batch, *spatial / 2, channels]."""
    for convolution, norm in zip(self.convolutions, self.norms, strict=True):
      x = convolution(x)
      x = jax.nn.relu(x if norm is None else norm(x))
    return max_pool(x, (2,) * (x.ndim - 2), 2)


class VGG(nnx.Module):
  """Five stages and three fully connected layers.

  Args:
    layers: number of convolutions in each stage.
    batch_norm: normalises behind every convolution, as torchvision's `_bn`; the paper has none.
    rank: number of spatial axes.
    hidden_features: units of the two hidden fully connected layers.
    dropout_rate: of their outputs.
    remat: computes the stages' activations again in the backward pass in place of keeping them.
  """

  def __init__(
    self,
    layers: Sequence[int],
    *,
    batch_norm: bool,
    num_classes: int,
    in_channels: int,
    rank: int,
    hidden_features: int,
    dropout_rate: float,
    remat: bool,
    dtype,
    rngs: nnx.Rngs,
  ):
    self.remat, self.dtype = remat, dtype
    inputs = (in_channels, *CHANNELS)
    stages = zip(inputs, CHANNELS, layers, strict=False)
    self.stages = nnx.List([Stage(*stage, batch_norm=batch_norm, rank=rank, rngs=rngs) for stage in stages])
    self.head = FullyConnectedHead(
      CHANNELS[-1],
      GRID,
      num_classes,
      rank=rank,
      hidden_features=hidden_features,
      dropout_rate=dropout_rate,
      kernel_init=normal(0.01),
      rngs=rngs,
    )

  def __call__(self, x: jax.Array) -> jax.Array:
    """x [batch, *spatial, in_channels] -> logits [batch, num_classes]."""
    return self.head(run_blocks(self.stages, x.astype(self.dtype), remat=self.remat))


def _register(name, layers, batch_norm):
  def build(
    *,
    num_classes,
    in_channels,
    rank: int = 2,
    hidden_features: int = 4096,
    dropout_rate: float = 0.5,
    remat: bool = False,
    dtype,
    rngs,
  ):
    return VGG(
      layers,
      batch_norm=batch_norm,
      num_classes=num_classes,
      in_channels=in_channels,
      rank=rank,
      hidden_features=hidden_features,
      dropout_rate=dropout_rate,
      remat=remat,
      dtype=dtype,
      rngs=rngs,
    )

  register(name, build)


for _depth, _layers in LAYERS.items():
  _register(f"vgg{_depth}", _layers, batch_norm=False)
  _register(f"vgg{_depth}_bn", _layers, batch_norm=True)

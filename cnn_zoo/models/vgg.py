"""VGG (Simonyan and Zisserman 2014, Very Deep Convolutional Networks for Large-Scale Image Recognition)."""

from collections import OrderedDict
from collections.abc import Sequence

import jax
from flax import nnx

from cnn_zoo.convolutions.initializers import he_normal_fan_out, normal
from cnn_zoo.layers import BatchNorm, ConvNorm, max_pool, run_blocks
from cnn_zoo.models.fully_connected import FullyConnectedHead
from cnn_zoo.models.network import Network
from cnn_zoo.models.registry import register

# Table 1, columns A, B, D and E: convolutions in each stage, by the number of layers with weights.
LAYERS = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
CHANNELS = (64, 128, 256, 512, 512)  # of all convolutions of a stage
GRID = 7  # cells of the last map along each axis


class Stage(nnx.Module):
  """3 x 3 convolutions of stride 1 with ReLU, and max-pooling 2 x 2 of stride 2.

  Args:
    in_channels: channels of the input.
    channels: channels of every convolution.
    layers: number of convolutions.
    batch_norm: normalises between convolution and ReLU.
    rank: number of spatial axes.
    rngs: the source of initial values.
  """

  def __init__(self, in_channels: int, channels: int, layers: int, *, batch_norm: bool, rank: int = 2, rngs: nnx.Rngs):
    inputs = (in_channels, *[channels] * (layers - 1))
    # He's, as torchvision; the paper's own starts deep networks from the trained layers of the shallowest. As there,
    # convolutions have a bias before normalisation too.
    unit: dict = {"norm": BatchNorm if batch_norm else None, "use_bias": True, "kernel_init": he_normal_fan_out}
    self.units = nnx.List([ConvNorm(features, channels, (3,) * rank, **unit, rngs=rngs) for features in inputs])

  def __call__(self, x: jax.Array) -> jax.Array:
    """x [batch, *spatial, in_channels] -> [batch, *spatial / 2, channels]."""
    return max_pool(run_blocks(self.units, x), (2,) * (x.ndim - 2), 2)


class VGG(Network):
  """Five stages and three fully connected layers.

  Features: "stage1" to "stage5", pooled to a half to a 32nd of the input's size.

  Args:
    num_classes, in_channels, dtype, rngs: as `create_model`; num_classes=None leaves the classifier out.
    layers: number of convolutions in each stage.
    batch_norm: normalises after every convolution, as torchvision's `_bn`; the paper has none.
    rank: number of spatial axes.
    hidden_features: units of the two hidden fully connected layers.
    dropout_rate: of their outputs.
    remat: recomputes the stages' inner activations in the backward pass instead of keeping them.
  """

  def __init__(
    self,
    *,
    num_classes: int | None,
    in_channels: int,
    layers: Sequence[int],
    batch_norm: bool,
    rank: int = 2,
    hidden_features: int = 4096,
    dropout_rate: float = 0.5,
    remat: bool = False,
    dtype,
    rngs: nnx.Rngs,
  ):
    super().__init__(num_classes, dtype)
    self.remat = remat
    inputs = (in_channels, *CHANNELS)
    stages = zip(inputs, CHANNELS, layers, strict=False)
    self.stages = nnx.List([Stage(*stage, batch_norm=batch_norm, rank=rank, rngs=rngs) for stage in stages])
    if num_classes is not None:
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

  def features(self, x: jax.Array) -> OrderedDict[str, jax.Array]:
    """x [batch, *spatial, in_channels] -> the pooled maps of the stages."""
    x, maps = x.astype(self.dtype), OrderedDict()
    for number, stage in enumerate(self.stages, start=1):
      maps[f"stage{number}"] = x = run_blocks([stage], x, remat=self.remat)
    return maps

  def logits(self, x: jax.Array) -> jax.Array:
    """The last map -> logits [batch, num_classes]."""
    return self.head(x)


for _depth, _layers in LAYERS.items():
  register(f"vgg{_depth}", VGG, layers=_layers, batch_norm=False)
  register(f"vgg{_depth}_bn", VGG, layers=_layers, batch_norm=True)

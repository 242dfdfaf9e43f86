"""EfficientNetV2 S, M, L and XL (Tan and Le 2021, EfficientNetV2: Smaller Models and Faster Training)."""

from typing import NamedTuple

import jax
from flax import nnx

from cnn_zoo.layers import StochasticDepth
from cnn_zoo.models.efficientnet import EfficientNet, MBConv, Stage
from cnn_zoo.models.registry import Setting, register

# Table 4 and its larger versions in the authors' code: expansion, kernel, stride of the first layer, channels, layers.
# The first three stages are Fused-MBConv, the others MBConv; the stem has the channels of the first stage.
FUSED = 3
STAGES = {
  "efficientnet_v2_s": (
    Stage(1, 3, 1, 24, 2),
    Stage(4, 3, 2, 48, 4),
    Stage(4, 3, 2, 64, 4),
    Stage(4, 3, 2, 128, 6),
    Stage(6, 3, 1, 160, 9),
    Stage(6, 3, 2, 256, 15),
  ),
  "efficientnet_v2_m": (
    Stage(1, 3, 1, 24, 3),
    Stage(4, 3, 2, 48, 5),
    Stage(4, 3, 2, 80, 5),
    Stage(4, 3, 2, 160, 7),
    Stage(6, 3, 1, 176, 14),
    Stage(6, 3, 2, 304, 18),
    Stage(6, 3, 1, 512, 5),
  ),
  "efficientnet_v2_l": (
    Stage(1, 3, 1, 32, 4),
    Stage(4, 3, 2, 64, 7),
    Stage(4, 3, 2, 96, 7),
    Stage(4, 3, 2, 192, 10),
    Stage(6, 3, 1, 224, 19),
    Stage(6, 3, 2, 384, 25),
    Stage(6, 3, 1, 640, 7),
  ),
  "efficientnet_v2_xl": (
    Stage(1, 3, 1, 32, 4),
    Stage(4, 3, 2, 64, 8),
    Stage(4, 3, 2, 96, 8),
    Stage(4, 3, 2, 192, 16),
    Stage(6, 3, 1, 256, 24),
    Stage(6, 3, 2, 512, 32),
    Stage(6, 3, 1, 640, 8),
  ),
}
HEAD = 1280  # channels of the last stage


class Training(NamedTuple):
  """What goes with a size in the authors' code. The network takes images of other sizes too."""

  largest: int  # pixels a side at the end of training (section 4, progressive learning)
  resolution: int  # pixels a side in evaluation
  dropout: float  # before the classifier
  same_padding: bool = False  # as TensorFlow; only XL, whose weights are published for it alone


TRAININGS = {
  "efficientnet_v2_s": Training(300, 384, 0.2),
  "efficientnet_v2_m": Training(384, 480, 0.3),
  "efficientnet_v2_l": Training(384, 480, 0.4),
  "efficientnet_v2_xl": Training(384, 512, 0.4, same_padding=True),
}


class FusedMBConv(nnx.Module):
  """Figure 2: MBConv whose expansion and depthwise step are one k x k convolution, without squeeze and excite.

  The arguments are those of `MBConv`; with an expansion of 1 the k x k convolution is the whole block.
  """

  def __init__(self, in_channels, channels, *, kernel, stride, expansion, rank=2, unit, stochastic_depth_rate, rngs):
    expanded = in_channels * expansion if expansion > 1 else channels
    self.expand = unit(in_channels, expanded, (kernel,) * rank, strides=stride)
    self.project = unit(expanded, channels, (1,) * rank, activation=None) if expansion > 1 else None
    self.residual = stride == 1 and in_channels == channels
    self.stochastic_depth = StochasticDepth(stochastic_depth_rate if self.residual else 0.0, rngs=rngs)

  def __call__(self, x: jax.Array) -> jax.Array:
    """x [batch, *spatial, in_channels] -> [batch, *spatial / stride, channels]."""
    y = self.expand(x)
    y = y if self.project is None else self.project(y)
    return x + self.stochastic_depth(y) if self.residual else y


class EfficientNetV2(EfficientNet):
  """Table 4: Fused-MBConv stages, then MBConv stages. The arguments and features are those of `EfficientNet`.

  With another `width`, the channels of the last convolution stay.
  """

  head_grows = False


for _name, _training in TRAININGS.items():
  _stages = STAGES[_name]
  register(
    _name,
    EfficientNetV2,
    Setting((_training.resolution, _training.resolution, 3)),
    defaults={"dropout_rate": _training.dropout, "epsilon": 1e-3},
    stages=_stages,
    blocks=[FusedMBConv] * FUSED + [MBConv] * (len(_stages) - FUSED),
    stem=_stages[0].channels,
    head=HEAD,
    same_padding=_training.same_padding,
  )

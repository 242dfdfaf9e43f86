"""C3D, and the two ways in which a 2-D network of the same layers can process a clip.

Source: Tran et al. 2015, Learning Spatiotemporal Features with 3D Convolutional Networks.
"""

from collections import OrderedDict
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from cnn_zoo.convolutions.initializers import he_normal_fan_in
from cnn_zoo.errors import UserError, check_name
from cnn_zoo.layers import BatchNorm, ConvNorm, max_pool, run_blocks
from cnn_zoo.models.fully_connected import FullyConnectedHead
from cnn_zoo.models.network import Network
from cnn_zoo.models.registry import Setting, register
from cnn_zoo.models.scaling import check_multipliers, scale_channels

# Figure 3: the channels of the convolutions of each stage, and the max-pooling [frames, height, width] that ends it.
STAGES = (
  ((64,), (1, 2, 2)),  # time is not pooled early (section 3.3)
  ((128,), (2, 2, 2)),
  ((256, 256), (2, 2, 2)),
  ((512, 512), (2, 2, 2)),
  ((512, 512), (2, 2, 2)),
)
GRID = 4  # cells of the last map along height and width
VIEWS = ("clip", "stack", "frame")


class Stage(nnx.Module):
  """Convolutions of 3 in every axis and of stride 1 with ReLU, and max-pooling.

  A last window of the pooling that reaches beyond the map counts too, as in the authors' network (Caffe's): the 7 x 7
  of the last stage become 4 x 4, and an axis of 1 keeps its size.

  Args:
    in_channels: channels of the input.
    channels: of each convolution.
    window: of the pooling, and its stride; its length is the number of spatial axes.
    batch_norm: normalises between convolution and ReLU.
    rngs: the source of initial values.
  """

  def __init__(self, in_channels: int, channels: Sequence[int], window: Sequence[int], *, batch_norm: bool, rngs):
    norm = BatchNorm if batch_norm else None
    unit: dict = {"norm": norm, "use_bias": True, "kernel_init": he_normal_fan_in, "rngs": rngs}
    sizes = zip((in_channels, *channels), channels, strict=False)
    self.window = tuple(window)
    self.units = nnx.List([ConvNorm(*features, (3,) * len(window), **unit) for features in sizes])

  def __call__(self, x: jax.Array) -> jax.Array:
    """x [batch, *spatial, in_channels] -> [batch, *spatial / window, channels]."""
    return max_pool(run_blocks(self.units, x), self.window, self.window, ceil_mode=True)


class C3D(Network):
  """Figure 3: eight convolutions in five stages and three fully connected layers.

  The time steps after the last pooling are averaged (of 16 frames that is one step), and maps of another size
  than that of 112 x 112 pixels are averaged over 4 x 4 cells, so that the network takes clips of any size.

  Kernels start from He's normal values and biases from 0, which a network of any width trains from. The authors' code
  has deviations of 0.01 (convolutions, classifier) and 0.005, and biases of 1 after the first layer, which suit these
  widths and pixels up to 255 alone.

  Features: "stage1" to "stage5", pooled to a half to a 32nd of the input's height and width; of "clip", with the axis
  of time, to 1, 1/2, 1/4, 1/8 and 1/16 of its length.

  Args:
    num_classes, in_channels, dtype, rngs: as `create_model`; num_classes=None leaves the classifier out.
    view: what the convolutions see. "clip": the clip, by 3-D convolutions. "stack": its frames, concatenated as
      channels, by 2-D convolutions. "frame": the middle frame alone, by the same. The 2-D networks are the 3-D one
      without the temporal axis of kernels and pooling.
    frames: view="stack": the length of the clips; the other views take any.
    width: multiplies the channels of all convolutions.
    batch_norm: normalises after every convolution, for small datasets; the paper has none.
    hidden_features: units of the two hidden fully connected layers.
    dropout_rate: of their outputs.
    remat: recomputes the stages' inner activations in the backward pass instead of keeping them.
  """

  def __init__(
    self,
    *,
    num_classes: int | None,
    in_channels: int,
    view: str = "clip",
    frames: int = 16,
    width: float = 1.0,
    batch_norm: bool = False,
    hidden_features: int = 4096,
    dropout_rate: float = 0.5,
    remat: bool = False,
    dtype,
    rngs: nnx.Rngs,
  ):
    check_name("view", view, VIEWS)
    check_multipliers(width=width)
    if frames < 1:
      raise UserError(f"frames={frames} must be at least 1")
    super().__init__(num_classes, dtype)
    self.view, self.frames, self.remat = view, frames, remat
    features, self.stages = in_channels * (frames if view == "stack" else 1), nnx.List()
    for channels, window in STAGES:
      channels = [scale_channels(c, width) for c in channels]
      window = window if view == "clip" else window[1:]
      self.stages.append(Stage(features, channels, window, batch_norm=batch_norm, rngs=rngs))
      features = channels[-1]
    if num_classes is not None:
      self.head = FullyConnectedHead(
        features,
        GRID,
        num_classes,
        rank=2,
        hidden_features=hidden_features,
        dropout_rate=dropout_rate,
        kernel_init=he_normal_fan_in,
        rngs=rngs,
      )

  def features(self, x: jax.Array) -> OrderedDict[str, jax.Array]:
    """x [batch, frames, height, width, in_channels] -> the pooled maps of the stages.

    Raises:
      UserError: if x is no batch of clips or, with view="stack", of clips of another length than `frames`.
    """
    if x.ndim != 5:
      raise UserError(f"input {x.shape} must be clips [batch, frames, height, width, channels]")
    x, maps = self._seen(x.astype(self.dtype)), OrderedDict()
    for number, stage in enumerate(self.stages, start=1):
      maps[f"stage{number}"] = x = run_blocks([stage], x, remat=self.remat)
    return maps

  def logits(self, x: jax.Array) -> jax.Array:
    """The last map -> logits [batch, num_classes]."""
    return self.head(jnp.mean(x, axis=1) if self.view == "clip" else x)

  def _seen(self, x):
    """What the first convolution is given of the clips x."""
    if self.view == "clip":
      return x
    if self.view == "frame":
      return x[:, x.shape[1] // 2]
    if x.shape[1] != self.frames:
      raise UserError(
        f"input {x.shape} has clips of {x.shape[1]} frames, view='stack' was built for frames={self.frames}"
      )
    return jnp.moveaxis(x, 1, -2).reshape(x.shape[0], *x.shape[2:-1], -1)


register("c3d", C3D, Setting((16, 112, 112, 3), num_classes=487))

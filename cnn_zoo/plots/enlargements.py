"""What a U-Net's ways of enlarging its maps do to a scene before anything is learned."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from matplotlib.figure import Figure

from cnn_zoo.layers.upsampling import UPSAMPLING
from cnn_zoo.models import create_model

CHANNELS = 3  # of the last enlarged map, side by side
FEATURES, DEPTH = 16, 3  # of the networks, as configs/unet.py trains them


class _Kept(nnx.Module):
  """A layer that keeps what it last answered."""

  def __init__(self, layer):
    self.layer, self.answer = layer, nnx.Intermediate(None)

  def __call__(self, x):
    self.answer.set_value(self.layer(x))
    return self.answer.get_value()


def enlarged_maps(scene: np.ndarray, upsampling: str, seed: int = 0) -> np.ndarray:
  """The last enlarged map of an untrained U-Net, [height, width, features], of uint8 [height, width, channels]."""
  options = {"features": FEATURES, "depth": DEPTH, "upsampling": upsampling}
  model = create_model("unet", num_classes=2, in_channels=scene.shape[-1], **options, rngs=nnx.Rngs(seed))
  model.enlargements[-1] = kept = _Kept(model.enlargements[-1])
  model.train()  # statistics of the scene itself: an untrained network has no others
  model((jnp.asarray(scene[None], jnp.float32) / 255 - 0.5) / 0.25)
  return np.asarray(jax.device_get(kept.answer.get_value()))[0]


def draw_enlargements(scene: np.ndarray, picture: Path) -> None:
  """Draws the scene and, for each way of enlarging, some channels of the last enlarged map into a PNG."""
  figure = Figure(figsize=(2.4 * (CHANNELS + 1), 2.7 * len(UPSAMPLING)), layout="constrained")
  for row, upsampling in zip(figure.subplots(len(UPSAMPLING), CHANNELS + 1), UPSAMPLING, strict=True):
    maps = enlarged_maps(scene, upsampling)
    row[0].imshow(scene.squeeze(), cmap="gray", interpolation="nearest")
    row[0].set_title("the scene")
    for channel, axis in enumerate(row[1:]):
      axis.imshow(maps[..., channel], cmap="gray", interpolation="nearest")
      axis.set_title(f"{upsampling}, channel {channel + 1}")
    for axis in row:
      axis.set(xticks=[], yticks=[])
  figure.savefig(picture, dpi=110, metadata={"Software": None})

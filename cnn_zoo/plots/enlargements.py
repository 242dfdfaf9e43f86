"""The maps of untrained U-Nets with different upsampling."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from cnn_zoo.convolutions import lowering
from cnn_zoo.layers.upsampling import UPSAMPLING
from cnn_zoo.models import create_model
from cnn_zoo.plots.style import new_figure, picture_style, save_picture

CHANNELS = 3  # of the last upsampled map, next to each other
FEATURES, DEPTH = 16, 3  # of the networks, as configs/unet.py trains them


class _Kept(nnx.Module):
  """A layer that keeps its last output."""

  def __init__(self, layer):
    self.layer, self.output = layer, nnx.Intermediate(None)

  def __call__(self, x):
    self.output.set_value(self.layer(x))
    return self.output.get_value()


def enlarged_maps(scene: np.ndarray, upsampling: str, seed: int = 0) -> np.ndarray:
  """The last upsampled map of an untrained U-Net.

  Args:
    scene: uint8 [height, width, channels].
    upsampling: one of `UPSAMPLING`.
    seed: of the weights.

  Returns:
    float [height, width, features].
  """
  options: dict = {"features": FEATURES, "depth": DEPTH, "upsampling": upsampling}
  model: Any = create_model("unet", num_classes=2, in_channels=scene.shape[-1], **options, rngs=nnx.Rngs(seed))
  model.enlargements[-1] = kept = _Kept(model.enlargements[-1])
  model.train()  # batch statistics, as an untrained network has no running ones
  with lowering("lax"):  # compiles fastest
    nnx.jit(lambda model, x: model(x))(model, (jnp.asarray(scene[None], jnp.float32) / 255 - 0.5) / 0.25)
  return np.asarray(jax.device_get(kept.output.get_value()))[0]


def draw_enlargements(scene: np.ndarray, path: Path) -> None:
  """Draws a scene and, for each way of upsampling, some channels of the last upsampled map.

  Args:
    scene: uint8 [height, width, channels].
    path: the PNG to write.

  Raises:
    UserError: if the picture cannot be written.

  Example:
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:  # takes 20 seconds
    ...   draw_enlargements(np.zeros((32, 32, 1), np.uint8), Path(folder, "maps.png"))  # doctest: +SKIP
  """
  with picture_style():
    figure = new_figure(2.2 * len(UPSAMPLING))
    for line, upsampling in zip(figure.subplots(len(UPSAMPLING), CHANNELS + 1), UPSAMPLING, strict=True):
      maps = enlarged_maps(scene, upsampling)
      panels = {"scene": scene.squeeze()} | {f"{upsampling}, channel {c + 1}": maps[..., c] for c in range(CHANNELS)}
      for axis, (title, pixels) in zip(line, panels.items(), strict=True):
        axis.imshow(pixels, cmap="gray", interpolation="nearest")
        axis.set(title=title, xticks=[], yticks=[])
    save_picture(figure, path)

"""Transposed convolutions make a checkerboard, resizing does not."""

import matplotlib.pyplot as plt
import numpy as np

from cnn_zoo.layers.upsampling import UPSAMPLING
from cnn_zoo.plots import enlargements


def checkered(maps):
  """The standard deviation of the four positions of all 2 x 2 cells, relative to that of the whole map."""
  cells = maps.reshape(maps.shape[0] // 2, 2, maps.shape[1] // 2, 2, -1)
  return np.mean(cells.mean((0, 2)).std((0, 1)) / maps.std((0, 1)))


def test_checkerboard():
  scene = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
  transposed, *resized = (
    enlargements.enlarged_maps(scene, upsampling) for upsampling in ("transposed", "bilinear", "nearest")
  )
  assert all(maps.shape == (32, 32, 16) for maps in (transposed, *resized))
  assert checkered(transposed) > 5 * max(map(checkered, resized))


def test_picture(tmp_path, monkeypatch):
  """A row for each way of upsampling."""
  maps = np.random.default_rng(0).normal(size=(16, 24, 3))
  asked = []
  monkeypatch.setattr(enlargements, "enlarged_maps", lambda scene, upsampling: asked.append(upsampling) or maps)
  enlargements.draw_enlargements(np.zeros((16, 24, 1), np.uint8), tmp_path / "picture.png")
  pixels = plt.imread(tmp_path / "picture.png")
  assert pixels.shape[1] > pixels.shape[0] > 300 and pixels[..., :3].std() > 0.05
  assert asked == list(UPSAMPLING)

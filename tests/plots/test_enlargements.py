"""The checkerboard of transposed convolutions shows, and only theirs."""

import matplotlib.pyplot as plt
import numpy as np

from cnn_zoo.plots.enlargements import draw_enlargements, enlarged_maps


def checkered(maps):
  """How far the four places of each 2 x 2 cell differ on average, against how the map varies altogether."""
  cells = maps.reshape(maps.shape[0] // 2, 2, maps.shape[1] // 2, 2, -1)
  return np.mean(cells.mean((0, 2)).std((0, 1)) / maps.std((0, 1)))


def test_checkerboard():
  scene = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
  transposed, *resized = (enlarged_maps(scene, upsampling) for upsampling in ("transposed", "bilinear", "nearest"))
  assert all(maps.shape == (32, 32, 16) for maps in (transposed, *resized))
  assert checkered(transposed) > 5 * max(map(checkered, resized))


def test_picture(tmp_path):
  draw_enlargements(np.zeros((16, 24, 1), np.uint8), tmp_path / "picture.png")
  pixels = plt.imread(tmp_path / "picture.png")
  assert pixels.shape[1] > pixels.shape[0] > 300  # three rows of four
  assert pixels[..., :3].std() > 0.05

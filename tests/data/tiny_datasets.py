"""Settings with defaults, and datasets of a few known records."""

import cv2
import ml_collections
import numpy as np

from cnn_zoo.data import Dataset


def make_settings(**overrides) -> ml_collections.ConfigDict:
  settings = {
    "name": "digits",
    "directory": None,
    "image_size": 8,
    "workers": 0,
    "crop": "resize",
    "min_area": 0.08,
    "test_crop": 0.875,
    "flip": False,
    "shift": 0.0,
    "rotate": 0.0,
    "zoom": 0.0,
  }
  return ml_collections.ConfigDict(settings | overrides)


def encode_png(image: np.ndarray) -> bytes:
  image = image[:, :, ::-1] if image.shape[2] == 3 else image
  return cv2.imencode(".png", image)[1].tobytes()


def make_dataset(num_train: int = 10, num_test: int = 10, channels: int = 3) -> Dataset:
  """Records of random pixels whose label is their index."""
  rng = np.random.default_rng(0)
  images = rng.integers(0, 256, (num_train + num_test, 12, 12, channels), dtype=np.uint8)
  records = [{"image": encode_png(image), "label": index} for index, image in enumerate(images)]
  test = [{**record, "label": index} for index, record in enumerate(records[num_train:])]
  names = tuple(str(index) for index in range(num_train))
  return Dataset("tiny", num_train, channels, names, records[:num_train], test, num_train, num_test)

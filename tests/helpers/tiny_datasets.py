"""Settings with defaults, and datasets of a few known records."""

import cv2
import ml_collections
import numpy as np

from cnn_zoo.data import KINDS as MODULES
from cnn_zoo.data import Dataset, DatasetInfo

KINDS = ("image", "waveform", "clip", "scene")

# Settings of small examples with every augmentation that their kind has.
_GEOMETRY = {"image_size": 16, "crop": "random", "flip": True, "shift": 0.1, "rotate": 10.0, "zoom": 0.2}
AUGMENTED = {
  "image": _GEOMETRY,
  "waveform": {"samples": 30, "time_shift": 0.2, "gain": 6.0, "noise": 0.1},
  "clip": {"frames": 4, **_GEOMETRY},
  "scene": _GEOMETRY,
}


def make_settings(**overrides) -> ml_collections.ConfigDict:
  settings = {
    "name": "digits",
    "directory": None,
    "validation": 0.0,
    "image_size": 8,
    "frames": 3,
    "samples": 40,
    "workers": 0,
    "crop": "resize",
    "min_area": 0.08,
    "test_crop": 0.875,
    "flip": False,
    "shift": 0.0,
    "rotate": 0.0,
    "zoom": 0.0,
    "time_shift": 0.0,
    "gain": 0.0,
    "noise": 0.0,
  }
  return ml_collections.ConfigDict(settings | overrides)


def encode_png(image: np.ndarray) -> bytes:
  image = image[:, :, ::-1] if image.shape[2] == 3 else image
  return cv2.imencode(".png", image)[1].tobytes()


def make_dataset(num_train: int = 10, num_test: int = 10, channels: int = 3, kind: str = "image") -> Dataset:
  """Records of random numbers whose label is their index; those of scenes have random masks."""
  rng = np.random.default_rng(0)
  channels = 1 if kind == "waveform" else channels
  records = [_record(rng, kind, channels, num_train) | {"label": index} for index in range(num_train + num_test)]
  test = [{**record, "label": index} for index, record in enumerate(records[num_train:])]
  names = tuple(str(index) for index in range(num_train))
  info = DatasetInfo(num_train, channels, MODULES[kind].TASK, kind, names)
  return Dataset("tiny", info, records[:num_train], test)


def _record(rng: np.random.Generator, kind: str, channels: int, num_classes: int) -> dict:
  if kind == "waveform":
    return {"audio": rng.integers(-30000, 30000, 50, dtype=np.int16)}
  pixels = rng.integers(0, 256, (6 if kind == "clip" else 1, 12, 12, channels), dtype=np.uint8)
  frames = [encode_png(frame) for frame in pixels]
  if kind == "clip":
    return {"video": frames}
  mask = {"segmentation_mask": encode_png(rng.integers(0, num_classes, (12, 12, 1), dtype=np.uint8))}
  return {"image": frames[0]} | (mask if kind == "scene" else {})

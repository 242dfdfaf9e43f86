import hashlib

import cv2
import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier

from cnn_zoo.data import open_dataset
from cnn_zoo.data.decode import decode_image
from cnn_zoo.data.embedded import digit_scenes
from cnn_zoo.data.embedded.digit_scenes import DigitScenes
from tests.helpers.tiny_datasets import make_settings


@pytest.fixture(scope="module")
def dataset(directory):
  return open_dataset(make_settings(name="digit_scenes", directory=directory))


def maps_of(records) -> np.ndarray:
  return np.stack([decode_image(record["segmentation_mask"], 1)[:, :, 0] for record in records])


@pytest.fixture(scope="module")
def scenes(dataset) -> tuple[np.ndarray, np.ndarray]:
  """Images and label maps of the test set."""
  return np.stack([decode_image(record["image"], 3) for record in dataset.test]), maps_of(dataset.test)


def digits_of(label_map: np.ndarray):
  """(class, bool [64, 64]) of each connected part of a digit that is not tiny."""
  for label in set(np.unique(label_map)) - {0, 255}:
    number, parts = cv2.connectedComponents((label_map == label).astype(np.uint8), connectivity=8)
    yield from ((label, parts == part) for part in range(1, number) if np.sum(parts == part) > 25)


def test_scenes_are_as_described(dataset, scenes):
  images, maps = scenes
  assert (dataset.num_train, dataset.num_test, dataset.info.channels) == (1500, 300, 3)
  assert dataset.info.num_classes == 11 and dataset.info.class_names == ("background", *"0123456789")
  assert images.shape == (300, 64, 64, 3) and maps.shape == (300, 64, 64)
  assert np.unique(maps).tolist() == [*range(11), 255]
  counts = [len({label for label, _ in digits_of(label_map)}) for label_map in maps]
  assert min(counts) == 1 and max(counts) == 4
  shares = np.bincount(maps.ravel(), minlength=256) / maps.size
  assert 0.8 < shares[0] < 0.95 and shares[1:11].min() > 0.006 and shares[1:11].max() < 0.015


def test_scenes_are_fixed_for_ever(scenes):
  assert [hashlib.sha256(values.tobytes()).hexdigest() for values in scenes] == [
    "02d2616feece2018dbc499daf1a1cfacf93686835a6a474d201a23625837b530",
    "ab8e701b1fa230e96091ad1ad99b41fca82afc5e69642bac43979ccb8f3b606f",
  ]


def test_generation_repeats_to_the_byte(dataset, tmp_path):
  generated = DigitScenes(data_dir=str(tmp_path))._split_generators(None)
  for split, records in (("train", dataset.train), ("test", dataset.test)):
    for index, (_, example) in zip(range(5), generated[split], strict=False):
      assert records[index] == example


def test_scenes_of_a_split_show_digits_of_that_split(tmp_path, monkeypatch):
  blank, white = ((np.full((5, 8, 8), value, np.uint8), np.full(5, 7)) for value in (0, 255))
  monkeypatch.setattr(digit_scenes, "split_digits", lambda: {"train": blank, "test": white})
  generated = DigitScenes(data_dir=str(tmp_path))._split_generators(None)
  labels = {split: set(np.unique(maps_of([next(examples)[1]]))) for split, examples in generated.items()}
  assert labels == {"train": {0}, "test": {0, 8, 255}}


def test_only_the_edge_is_ignored(scenes):
  """Of the ignored pixels, which are few, nearly all lie between a digit and what is not that digit."""
  _, maps = scenes
  ignored = maps == 255
  assert 0.01 < ignored.mean() < 0.05
  window = np.ones((3, 3), np.uint8)
  for kind in ((maps > 0) & ~ignored, maps == 0):
    near = np.stack([cv2.dilate(mask.astype(np.uint8), window) for mask in kind])
    assert near[ignored].mean() > 0.9


def test_digits_stand_out(scenes):
  """The mean colour of a digit differs from the background's by about the least contrast, or more."""
  images, maps = scenes
  contrasts = [
    np.linalg.norm(image[part].mean(0) - image[label_map == 0].mean(0)) / 255
    for image, label_map in zip(images, maps, strict=True)
    for _, part in digits_of(label_map)
  ]
  assert min(contrasts) > digit_scenes.CONTRAST - 0.05


def test_labels_are_the_digits_shown(dataset, scenes):
  """The shapes of the test set are those of the same label in the training set."""

  def shapes(maps):
    for label_map in maps:
      for label, part in digits_of(label_map):
        top, left, height, width = (lambda x, y, w, h: (y, x, h, w))(*cv2.boundingRect(part.astype(np.uint8)))
        side = max(height, width)
        square = np.zeros((side, side), np.float32)
        square[:height, (side - width) // 2 :][:, :width] = part[top : top + height, left : left + width]
        yield label, cv2.resize(square, (12, 12), interpolation=cv2.INTER_AREA).ravel()

  train_labels, train_shapes = zip(*shapes(maps_of(dataset.train)), strict=True)
  test_labels, test_shapes = zip(*shapes(scenes[1]), strict=True)
  accuracy = KNeighborsClassifier(3).fit(train_shapes, train_labels).score(test_shapes, test_labels)
  assert accuracy > 0.85

import types

import numpy as np
import pytest

from cnn_zoo.data.kinds.scene import make_example, read_file
from tests.helpers.tiny_datasets import AUGMENTED, encode_png, make_dataset, make_settings

INFO = make_dataset(4, kind="scene").info
COLOURS = np.array([(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)], np.uint8)


def settings(**overrides):
  return types.SimpleNamespace(**make_settings(**overrides))


def blocks(height=96, width=128, side=32):
  """A scene in which every class has its colour, so that scene and label map can be compared, and its label map."""
  y, x = np.mgrid[:height, :width] // side
  labels = ((y + 2 * x + y * x) % 4).astype(np.uint8)
  return COLOURS[labels], labels


def record(scene, labels):
  return {"image": encode_png(scene), "segmentation_mask": encode_png(labels[:, :, None])}


def agreement(scene, labels):
  """The share of the pixels with a label whose colour is closest to that of their class."""
  distances = np.abs(scene[:, :, None].astype(int) - COLOURS.astype(int)).sum(-1)
  return (distances.argmin(-1) == labels)[labels != 255].mean()


def test_no_augmentation_is_the_identity():
  scene, labels = blocks(32, 32, 8)
  for rng, overrides in (
    (None, {}),
    (np.random.default_rng(0), {}),
    (None, {"crop": "random", "test_crop": 1.0}),
  ):
    result = make_example(record(scene, labels), INFO, settings(image_size=32, **overrides), rng)
    np.testing.assert_array_equal(result[0], scene)
    np.testing.assert_array_equal(result[1], labels)
    assert result[1].dtype == np.uint8


@pytest.mark.parametrize("overrides", [{"image_size": 48}, AUGMENTED["scene"] | {"image_size": 64, "min_area": 0.3}])
def test_scene_and_label_map_stay_together(overrides):
  scene, labels = blocks()
  for seed in range(20):
    result = make_example(record(scene, labels), INFO, settings(**overrides), np.random.default_rng(seed))
    assert agreement(*result) > 0.94  # the rest are edges, which are blurred in the scene
    assert set(np.unique(result[1])) <= {0, 1, 2, 3, 255}
  result = make_example(record(scene, labels), INFO, settings(**overrides), None)
  assert agreement(*result) > 0.94 and result[1].max() < 4


def test_resized_labels_are_those_under_the_centres():
  labels = np.array([3, 0, 3, 3, 1, 3, 3, 2, 3, 0, 3, 0], np.uint8)[None].repeat(12, 0)
  result = make_example(record(COLOURS[labels], labels), INFO, settings(image_size=4), None)[1]
  assert result.tolist() == [[0, 1, 2, 3]] * 4


def test_a_long_scene_and_its_label_map():
  """Each axis is resized for itself; a label map of stripes has the labels under the centres, never a mixture."""
  labels = (np.arange(1024, dtype=np.uint8) // 32 % 2)[None].repeat(31, 0)
  scene, result = make_example(record(COLOURS[labels], labels), INFO, settings(image_size=32), None)
  assert result.tolist() == [[0, 1] * 16] * 32 and agreement(scene, result) == 1
  pixels = np.zeros((31, 1024, 3), np.uint8)
  pixels[:, ::2] = 255
  scene, _ = make_example(record(pixels, labels), INFO, settings(image_size=32), None)
  assert (scene == 128).all()


def test_a_file_is_read_as_an_image_is(tmp_path):
  scene, _ = blocks(32, 32, 8)
  (tmp_path / "scene.png").write_bytes(encode_png(scene))
  np.testing.assert_array_equal(read_file(tmp_path / "scene.png", INFO, settings(image_size=32)), scene)


def test_flip_is_of_both():
  scene, labels = blocks(32, 32, 8)
  wanted = settings(image_size=32, flip=True)
  flipped = 0
  for seed in range(20):
    result = make_example(record(scene, labels), INFO, wanted, np.random.default_rng(seed))
    step = 1 if (result[1] == labels).all() else -1
    np.testing.assert_array_equal(result[0], scene[:, ::step])
    np.testing.assert_array_equal(result[1], labels[:, ::step])
    flipped += step < 0
  assert 4 < flipped < 16


def test_what_a_shift_uncovers_is_ignored():
  scene = np.full((32, 32, 3), 77, np.uint8)
  labels = np.ones((32, 32), np.uint8)
  uncovered = []
  for seed in range(10):
    moved, moved_labels = make_example(
      record(scene, labels), INFO, settings(image_size=32, shift=0.25), np.random.default_rng(seed)
    )
    assert (moved == 77).all()  # the border is repeated
    assert set(np.unique(moved_labels)) <= {1, 255}
    uncovered.append((moved_labels == 255).mean())
  assert max(uncovered) > 0.2 and max(uncovered) < 0.5


def test_pixels_to_ignore_stay_so_and_labels_start_where_the_dataset_says():
  scene, labels = blocks(32, 32, 8)
  info = INFO._replace(first_label=1)
  mask = labels + 1
  mask[:, 5] = 255
  result = make_example(record(scene, mask), info, settings(image_size=32), None)[1]
  labels[:, 5] = 255
  np.testing.assert_array_equal(result, labels)

import types

import cv2
import numpy as np
import pytest
from PIL import Image

from cnn_zoo.data.kinds.clip import make_example, read_file
from tests.helpers.tiny_datasets import AUGMENTED, encode_png, make_dataset, make_settings

INFO = make_dataset(kind="clip", channels=1).info


def settings(**overrides):
  return types.SimpleNamespace(**make_settings(**overrides))


def video(frames, size=8):
  """Frames of one gray each, which is ten times their number."""
  return {"video": [encode_png(np.full((size, size, 1), 10 * i, np.uint8)) for i in range(frames)], "label": 5}


def numbers(clip):
  assert (clip == clip[:, :1, :1]).all()
  return (clip[:, 0, 0, 0] // 10).tolist()


def test_a_test_clip_is_the_middle():
  clip, label = make_example(video(9), INFO, settings(frames=4), None)
  assert clip.shape == (4, 8, 8, 1) and clip.dtype == np.uint8 and label == 5
  assert numbers(clip) == [2, 3, 4, 5]


def test_a_training_clip_is_anywhere():
  wanted, record = settings(frames=4), video(9)
  starts = set()
  for seed in range(60):
    clip = numbers(make_example(record, INFO, wanted, np.random.default_rng(seed))[0])
    assert clip == list(range(clip[0], clip[0] + 4))
    starts.add(clip[0])
  assert starts == set(range(6))


@pytest.mark.parametrize("rng", [None, np.random.default_rng(0)])
def test_the_last_frame_of_a_short_video_is_repeated(rng):
  assert numbers(make_example(video(3), INFO, settings(frames=5), rng)[0]) == [0, 1, 2, 2, 2]
  assert numbers(make_example(video(3), INFO, settings(frames=3), rng)[0]) == [0, 1, 2]


def test_frames_are_augmented_alike():
  """Of a video in which nothing moves, all frames of every clip are the same, and clips differ."""
  frame = encode_png(np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8))
  info, wanted = make_dataset(kind="clip").info, settings(**AUGMENTED["clip"])
  clips = [
    make_example({"video": [frame] * 6, "label": 0}, info, wanted, np.random.default_rng(seed))[0] for seed in range(10)
  ]
  assert all((clip == clip[:1]).all() for clip in clips)
  assert len({clip.tobytes() for clip in clips}) == 10


def test_frames_that_are_long_or_transparent():
  """As images are: each axis for itself, and on white."""
  stripes = np.zeros((31, 1024, 4), np.uint8)
  stripes[:, ::2] = 255
  opaque = encode_png(stripes[:, :, :3])
  transparent = cv2.imencode(".png", np.zeros((8, 8, 4), np.uint8))[1].tobytes()
  record = {"video": [opaque, transparent], "label": 0}
  clip, _ = make_example(record, make_dataset(kind="clip").info, settings(frames=2, image_size=32), None)
  assert np.unique(clip[0]) == 128 and np.unique(clip[1]) == 255


def test_frames_of_a_folder_are_upright(tmp_path):
  exif = Image.Exif()
  exif[0x0112] = 3  # rotated by 180 degrees
  pixels = np.zeros((8, 8), np.uint8)
  pixels[:4] = 200
  for index in range(2):
    Image.fromarray(pixels).save(tmp_path / f"{index}.png", exif=exif)
  clip = read_file(tmp_path, INFO, settings(frames=2))
  assert (clip[:, 4:] == 200).all() and not clip[:, :4].any()


def test_flip_is_of_the_whole_clip():
  dataset, wanted = make_dataset(kind="clip"), settings(frames=6, image_size=12, flip=True)
  record = dataset.train[0]
  plain, _ = make_example(record, dataset.info, wanted, None)
  clips = [make_example(record, dataset.info, wanted, np.random.default_rng(seed))[0] for seed in range(20)]
  flipped = [(clip == plain[:, :, ::-1]).all() for clip in clips]
  assert all((clip == plain).all() or mirrored for clip, mirrored in zip(clips, flipped, strict=True))
  assert 4 < sum(flipped) < 16

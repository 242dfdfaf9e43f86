import hashlib

import numpy as np
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.neighbors import KNeighborsClassifier, NearestCentroid

from cnn_zoo.data import open_dataset
from cnn_zoo.data.decode import decode_image
from cnn_zoo.data.embedded import moving_digits
from cnn_zoo.data.embedded.moving_digits import DIRECTIONS, MovingDigits
from tests.helpers.tiny_datasets import make_settings


@pytest.fixture(scope="module")
def dataset(directory):
  return open_dataset(make_settings(name="moving_digits", directory=directory))


def clips_of(records, frames=slice(None)) -> np.ndarray:
  return np.stack([[decode_image(png, 1)[:, :, 0] for png in record["video"][frames]] for record in records])


def labels_of(records) -> np.ndarray:
  return np.array([record["label"] for record in records])


@pytest.fixture(scope="module")
def test_clips(dataset) -> np.ndarray:
  return clips_of(dataset.test)


def test_clips_are_as_described(dataset, test_clips):
  assert (dataset.num_train, dataset.num_test, dataset.info.channels) == (2000, 400, 1)
  assert dataset.info.class_names == DIRECTIONS
  assert test_clips.shape == (400, 16, 32, 32) and test_clips.dtype == np.uint8
  assert np.bincount(labels_of(dataset.train)).tolist() == [250] * 8
  assert np.bincount(labels_of(dataset.test)).tolist() == [50] * 8


def test_clips_are_fixed_for_ever(dataset, test_clips):
  assert hashlib.sha256(test_clips.tobytes()).hexdigest() == (
    "049f8bcb7b3bc0c0c1139ddb61316778a0da0a0d0a91c0f397116457fdab7c64"
  )


def test_generation_repeats_to_the_byte(dataset, tmp_path):
  generated = MovingDigits(data_dir=str(tmp_path))._split_generators(None)
  for split, records in (("train", dataset.train), ("test", dataset.test)):
    for record, (_, example) in zip(records, generated[split], strict=False):
      assert record["label"] == example["label"]
      assert list(record["video"]) == example["video"]
      if example["label"] == 3:  # a few examples are enough
        break


def test_clips_of_a_split_show_digits_of_that_split(tmp_path, monkeypatch):
  blank, white = (np.full((5, 8, 8), value, np.uint8) for value in (0, 255))
  monkeypatch.setattr(moving_digits, "split_digits", lambda: {"train": (blank, None), "test": (white, None)})
  generated = MovingDigits(data_dir=str(tmp_path))._split_generators(None)
  brightest = {split: clips_of([next(examples)[1]]).max() for split, examples in generated.items()}
  assert brightest["train"] < 80 and brightest["test"] > 120


@pytest.mark.parametrize("frame", [0, 8])
def test_one_frame_does_not_tell_the_direction(dataset, test_clips, frame):
  """Neither where the digit is nor, wherever it is, what it looks like (the spectrum): 12.5% by chance."""
  train = clips_of(dataset.train, slice(frame, frame + 1))[:, 0] / 255
  test = test_clips[:, frame] / 255
  train_labels, test_labels = labels_of(dataset.train), labels_of(dataset.test)

  def spectrum(frames):
    return np.log(np.abs(np.fft.rfft2(frames))[:, :8, :8].reshape(len(frames), -1) + 0.1)

  def coarse(frames):
    return frames.reshape(-1, 8, 4, 8, 4).mean((2, 4)).reshape(len(frames), -1)

  for features in (spectrum, coarse):
    for classifier in (NearestCentroid(), LinearDiscriminantAnalysis(), KNeighborsClassifier(10)):
      accuracy = classifier.fit(features(train), train_labels).score(features(test), test_labels)
      assert abs(accuracy - 1 / 8) < 0.05


def test_motion_tells_the_direction(dataset, test_clips):
  """The peak of the correlation of frames with those three later, on average over the clip."""
  spectra = np.fft.fft2(test_clips)
  correlation = np.fft.ifft2((spectra[:, 3:] * spectra[:, :-3].conj()).sum(1)).real
  peaks = correlation.reshape(400, -1).argmax(1)
  moves = (np.stack(np.divmod(peaks, 32), 1) + 16) % 32 - 16
  ways = [[("down" in name) - ("up" in name), ("right" in name) - ("left" in name)] for name in DIRECTIONS]
  ways = np.array([np.array(way) / np.hypot(*way) for way in ways])
  assert np.mean((moves @ ways.T).argmax(1) == labels_of(dataset.test)) > 0.95
  distances = np.hypot(*moves.T) / 3
  assert distances.min() > 0.8 and distances.max() < 2.8

import types

import numpy as np
from scipy.io import wavfile

from cnn_zoo.data.kinds.waveform import make_example, read_file
from tests.helpers.tiny_datasets import make_dataset, make_settings

INFO = make_dataset(kind="waveform").info


def settings(**overrides):
  return types.SimpleNamespace(**make_settings(**overrides))


def make(audio, rng=None, **overrides):
  waveform, label = make_example({"audio": np.asarray(audio, np.int16), "label": 7}, INFO, settings(**overrides), rng)
  assert waveform.shape == (overrides["samples"], 1) and waveform.dtype == np.int16 and label == 7
  return waveform[:, 0]


def rngs(count):
  return [np.random.default_rng(seed) for seed in range(count)]


def test_short_audio_is_padded_at_the_end():
  for rng in (None, *rngs(1)):
    assert make([1, 2, 3], rng, samples=6).tolist() == [1, 2, 3, 0, 0, 0]
    assert make([1, 2, 3], rng, samples=3).tolist() == [1, 2, 3]


def test_long_audio_is_cut():
  assert make(range(1, 10), samples=4).tolist() == [3, 4, 5, 6]
  starts = set()
  for rng in rngs(60):
    waveform = make(range(1, 10), rng, samples=4).tolist()
    assert waveform == list(range(waveform[0], waveform[0] + 4))
    starts.add(waveform[0])
  assert starts == set(range(1, 7))


def test_time_shift():
  audio = np.arange(1, 21)
  shifts = set()
  for rng in rngs(100):
    waveform = make(audio, rng, samples=20, time_shift=0.2)
    shift = next(by for by in range(-4, 5) if (waveform == np.roll(np.pad(audio, 5), by)[5:25]).all())
    shifts.add(shift)
  assert shifts == set(range(-4, 5))


def test_gain_is_in_decibels_and_clips():
  quiet, loud = np.full(50, 1000), np.full(50, -30000)
  levels = []
  for rng in rngs(100):
    waveform = make(quiet, rng, samples=50, gain=6.0)
    assert (waveform == waveform[0]).all()
    levels.append(20 * np.log10(waveform[0] / 1000))
  assert -6.01 < min(levels) < -5.5 and 5.5 < max(levels) < 6.01 and abs(np.mean(levels)) < 1
  lowest = min(make(loud, rng, samples=50, gain=6.0).min() for rng in rngs(20))
  assert lowest == -32768


def test_noise_is_white_and_at_most_of_its_level():
  levels = []
  for rng in rngs(40):
    noise = make(np.zeros(4000), rng, samples=4000, noise=0.1) / 32768
    levels.append(noise.std())
    assert abs(noise.mean()) < 0.01
    assert abs(np.corrcoef(noise[1:], noise[:-1])[0, 1]) < 0.1
  assert min(levels) < 0.02 and 0.08 < max(levels) < 0.105


def test_no_augmentation_of_test_examples():
  audio = np.random.default_rng(0).integers(-30000, 30000, 20)
  np.testing.assert_array_equal(make(audio, samples=20, time_shift=0.5, gain=20.0, noise=0.5), audio)


def test_a_file_of_another_rate_and_of_two_channels(tmp_path):
  tone = 16384 * np.sin(2 * np.pi * 100 * np.arange(4000) / 4000)
  stereo = np.stack([tone + 100, tone - 100], axis=1).astype(np.int16)
  wavfile.write(tmp_path / "tone.wav", 4000, stereo)
  waveform = read_file(tmp_path / "tone.wav", INFO._replace(sample_rate=8000), settings(samples=8000))
  expected = 16384 * np.sin(2 * np.pi * 100 * np.arange(8000) / 8000)
  assert waveform.shape == (8000, 1) and np.abs(waveform[:, 0] - expected)[100:-100].max() < 100

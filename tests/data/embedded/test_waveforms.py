import hashlib

import numpy as np
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.neighbors import KNeighborsClassifier

from cnn_zoo.data import open_dataset
from cnn_zoo.data.embedded import waveforms
from cnn_zoo.data.embedded.synthesis import make_rng
from cnn_zoo.data.embedded.waveforms import SOUNDS, Waveforms, make_waveform
from tests.helpers.tiny_datasets import make_settings

WINDOW = 256  # samples; 32 ms
HOP = 64  # samples; 8 ms


@pytest.fixture(scope="module")
def dataset(directory):
  return open_dataset(make_settings(name="waveforms", directory=directory))


@pytest.fixture(scope="module")
def examples(dataset) -> dict[str, tuple[np.ndarray, np.ndarray]]:
  """Waveforms and labels of each split."""
  splits = {"train": dataset.train, "test": dataset.test}
  return {
    split: (np.stack([record["audio"] for record in records]), np.array([record["label"] for record in records]))
    for split, records in splits.items()
  }


@pytest.fixture
def clean(monkeypatch):
  """Many sounds of a family, almost without noise and without silence: float [50, 8000]."""
  monkeypatch.setattr(waveforms, "SIGNAL_TO_NOISE", (60.0, 60.0))
  monkeypatch.setattr(waveforms, "DURATION", (1.0, 1.0))

  def make(sound: str) -> np.ndarray:
    rng = make_rng("clean", sound)
    return np.stack([make_waveform(rng, sound) for _ in range(50)]).astype(float)

  return make


def spectrograms(sounds: np.ndarray) -> np.ndarray:
  """Magnitudes, [sounds, times, frequencies], of frequencies 0, 7.8125, ..., 4000 Hz."""
  windows = np.lib.stride_tricks.sliding_window_view(sounds, WINDOW, axis=-1)[:, ::HOP]
  return np.abs(np.fft.rfft(windows * np.hanning(WINDOW), 1024, axis=-1))


def loudest_frequencies(sounds: np.ndarray) -> np.ndarray:
  """[sounds, times], in Hz."""
  return spectrograms(sounds).argmax(-1) * 7.8125


def swing(tracks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Rate, in Hz, and size, relative to the mean, of the strongest swing of [sounds, times]."""
  tracks = tracks[:, 4:-4]  # without the fades
  tracks = tracks / tracks.mean(1, keepdims=True)
  spectra = np.abs(np.fft.rfft((tracks - 1) * np.hanning(tracks.shape[1]), 1024)) / (tracks.shape[1] / 4)
  return spectra.argmax(1) * 8000 / HOP / 1024, spectra.max(1)


def harmonic_levels(sounds: np.ndarray) -> np.ndarray:
  """[sounds, 3], magnitude of harmonics 1 to 3 relative to the first, where that is the loudest."""
  spectra = np.abs(np.fft.rfft(sounds * np.hanning(8000)))
  first = spectra.argmax(1)
  peaks = [
    [spectrum[n * f - 4 : n * f + 5].max() for n in (1, 2, 3)] for spectrum, f in zip(spectra, first, strict=True)
  ]
  return np.array(peaks) / np.array(peaks)[:, :1]


def test_waveforms_are_as_described(dataset, examples):
  assert (dataset.num_train, dataset.num_test, dataset.info.channels) == (3000, 600, 1)
  assert dataset.info.class_names == tuple(SOUNDS) and dataset.info.num_classes == 10
  for split, count in (("train", 300), ("test", 60)):
    audio, labels = examples[split]
    assert audio.shape == (10 * count, 8000) and audio.dtype == np.int16
    assert np.bincount(labels).tolist() == [count] * 10
    assert np.abs(audio.astype(int)).max() < 32767  # nothing is clipped
  assert not {audio.tobytes() for audio in examples["train"][0]} & {audio.tobytes() for audio in examples["test"][0]}


def test_waveforms_are_fixed_for_ever(examples):
  assert hashlib.sha256(examples["test"][0].tobytes()).hexdigest() == (
    "046e9aad359ab7a38c8e2ee62af8196a632322d59d0c57bb40bd9cf2aabbc89e"
  )


def test_generation_repeats_to_the_byte(dataset, tmp_path):
  generated = Waveforms(data_dir=str(tmp_path))._split_generators(None)
  for split, records in (("train", dataset.train), ("test", dataset.test)):
    for index, (_, example) in zip(range(20), generated[split], strict=False):
      assert records[index]["label"] == example["label"]
      assert records[index]["audio"].tobytes() == example["audio"].tobytes()


def test_level_does_not_tell_the_family(examples):
  """10% by chance."""
  levels = {split: 20 * np.log10(audio.std(axis=1) / 32768) for split, (audio, _) in examples.items()}
  assert -38.1 < levels["train"].min() < -37 and -22 < levels["train"].max() < -20.9
  for classifier in (KNeighborsClassifier(25), LinearDiscriminantAnalysis()):
    classifier.fit(levels["train"][:, None], examples["train"][1])
    assert abs(classifier.score(levels["test"][:, None], examples["test"][1]) - 0.1) < 0.04


def test_spectrum_does_not_tell_rising_from_falling(examples):
  """50% by chance."""
  features, labels = {}, {}
  for split, (audio, families) in examples.items():
    chosen = (families == 3) | (families == 4)
    power = np.abs(np.fft.rfft(audio[chosen]))[:, :4000] ** 2
    features[split], labels[split] = np.log(power.reshape(len(power), 50, 80).mean(2)), families[chosen]
  for classifier in (KNeighborsClassifier(15), LinearDiscriminantAnalysis()):
    classifier.fit(features["train"], labels["train"])
    assert abs(classifier.score(features["test"], labels["test"]) - 0.5) < 0.12


def test_steady_tones(clean):
  """A sine has no harmonics, a square the odd ones (the third a third of the first), a sawtooth all."""
  sine, square, sawtooth = (harmonic_levels(clean(sound)) for sound in ("sine", "square", "sawtooth"))
  np.testing.assert_allclose(sine, [[1, 0, 0]] * 50, atol=0.02)
  np.testing.assert_allclose(square, [[1, 0, 1 / 3]] * 50, atol=0.07)
  np.testing.assert_allclose(sawtooth, [[1, 1 / 2, 1 / 3]] * 50, atol=0.1)
  pitches = loudest_frequencies(clean("sine"))
  assert np.ptp(pitches[:, 4:-4], axis=1).max() < 8
  assert 105 < np.median(pitches, 1).min() < 150 and 650 < np.median(pitches, 1).max() < 885


def test_nothing_folds_back(clean):
  """Above the highest harmonic there is only the noise."""
  for sound in SOUNDS:
    spectra = np.abs(np.fft.rfft(clean(sound) * np.hanning(8000))) ** 2
    assert (spectra[:, 3850:].sum(1) / spectra.sum(1)).max() < 1e-5


def test_chirps(clean):
  for sound, sign in (("chirp_up", 1), ("chirp_down", -1)):
    pitches = loudest_frequencies(clean(sound))[:, 8:-8]
    ratios = (pitches[:, -1] / pitches[:, 0]) ** sign
    assert ratios.min() > 1.3 and ratios.max() < 3.1
    assert np.mean(np.diff(pitches[:, ::8]) * sign >= 0) > 0.99


def test_tremolo_is_a_swing_of_loudness(clean):
  for sound in ("tremolo", "sine"):
    rates, sizes = swing(np.sqrt((spectrograms(clean(sound)) ** 2).sum(-1)))
    if sound == "tremolo":
      assert rates.min() > 3.5 and rates.max() < 8.5 and sizes.min() > 0.4
    else:
      assert sizes.max() < 0.1


def test_vibrato_is_a_swing_of_pitch(clean):
  """Of a semitone or more, while loudness stays; a trill jumps, by four semitones or more."""
  for sound, low, high in (("vibrato", 0.05, 0.2), ("trill", 0.1, 0.4)):
    sounds = clean(sound)
    rates, sizes = swing(loudest_frequencies(sounds))
    assert np.mean((rates > 3.5) & (rates < 8.5)) > 0.95
    assert np.mean((sizes > low) & (sizes < high)) > 0.95
  smooth, jumping = (loudest_frequencies(clean(sound))[:, 4:-4] for sound in ("vibrato", "trill"))
  spans = [np.quantile(track, 0.9, axis=1) / np.quantile(track, 0.1, axis=1) for track in (smooth, jumping)]
  assert np.median(spans[0]) < 1.3 < np.median(spans[1])


def test_pluck_fades_away(clean):
  loudness = np.sqrt((clean("pluck").reshape(50, 8, 1000) ** 2).mean(2))
  assert (np.diff(loudness) < 0).all()
  assert (loudness[:, -2] / loudness[:, 0]).max() < 0.25


def test_band_noise_has_no_pitch(clean):
  """Its power is spread over many frequencies, around one that is low."""
  powers = np.abs(np.fft.rfft(clean("band_noise"))) ** 2
  shares = powers / powers.sum(1, keepdims=True)
  assert shares.max() < 0.1
  centres = shares @ np.arange(4001)
  assert centres.min() > 100 and centres.max() < 1400

"""The embedded waveforms: one second of one of ten families of synthesised sounds, as a TFDS builder."""

import math

import numpy as np
import tensorflow_datasets as tfds

from cnn_zoo.data.embedded.synthesis import balanced_labels, choice, make_rng, noise, uniform

WAVEFORMS = {"train": 3000, "test": 600}
SAMPLE_RATE = 8000  # in Hz
SAMPLES = 8000
HIGHEST = 3800.0  # in Hz; higher harmonics would come close to half the sample rate and alias

PITCH = (110.0, 880.0)  # in Hz
RATE = (4.0, 8.0)  # of tremolo, vibrato and trill, in Hz
DURATION = (0.6, 1.0)  # in seconds
FADE_IN, FADE_OUT = 40, 80  # in samples
SIGNAL_TO_NOISE = (5.0, 30.0)  # in dB
# Root mean square of the whole, in dB of full scale: low enough that no sound is clipped.
LEVEL = (-38.0, -21.0)


class Waveforms(tfds.core.GeneratorBasedBuilder):
  """Synthesised sounds of one second, 8 kHz, 16 bits, mono, of random pitch, onset, level and noise, in ten families.

  Steady tones (sine, square, sawtooth), tones whose pitch rises or falls (chirp_up, chirp_down) or whose loudness or
  pitch swings (tremolo, vibrato) or that alternate between two pitches (trill), plucked strings (pluck), and noise
  around a pitch (band_noise). The loudness of a sound does not depend on its family.
  """

  VERSION = tfds.core.Version("1.0.0")

  def _info(self):
    return tfds.core.DatasetInfo(
      builder=self,
      description=self.__doc__,
      features=tfds.features.FeaturesDict(
        {
          # As tfds.features.Audio is read, but Audio itself needs TensorFlow. As bytes, because samples as integers of
          # variable length would take three times the space.
          "audio": tfds.features.Tensor(shape=(SAMPLES,), dtype=np.int16, encoding="bytes"),
          "label": tfds.features.ClassLabel(names=list(SOUNDS)),
        }
      ),
      supervised_keys=("audio", "label"),
      disable_shuffling=True,  # the order is random already
    )

  def _split_generators(self, dl_manager):
    return {split: self._generate_examples(split) for split in WAVEFORMS}

  def _generate_examples(self, split):
    rng = make_rng("waveforms", split)
    sounds = list(SOUNDS)
    for index, label in enumerate(balanced_labels(rng, WAVEFORMS[split], len(sounds))):
      yield index, {"audio": make_waveform(rng, sounds[label]), "label": int(label)}


def make_waveform(rng: np.random.Generator, sound: str) -> np.ndarray:
  """A sound of a family of `SOUNDS` in white noise, int16 [SAMPLES]."""
  length = int(SAMPLE_RATE * uniform(rng, *DURATION))
  onset = choice(rng, SAMPLES - length + 1)
  tone = SOUNDS[sound](rng, np.arange(length) / SAMPLE_RATE)
  tone[:FADE_IN] *= _rise(FADE_IN)
  tone[-FADE_OUT:] *= _rise(FADE_OUT)[::-1]
  waveform = _decibels(-uniform(rng, *SIGNAL_TO_NOISE)) * noise(rng, SAMPLES)
  waveform[onset : onset + length] += tone / _root_mean_square(tone)
  waveform *= _decibels(uniform(rng, *LEVEL)) / _root_mean_square(waveform)
  return np.rint(np.clip(waveform, -1, 1) * 32767).astype(np.int16)


def _rise(length: int) -> np.ndarray:
  return 0.5 - 0.5 * np.cos(math.pi * (np.arange(length) + 0.5) / length)


def _decibels(level: float) -> float:
  return 10 ** (level / 20)


def _root_mean_square(waveform: np.ndarray) -> float:
  return math.sqrt(np.mean(waveform**2))


# The families: each function makes a sound of any level at given times, [samples], in seconds.


def _sine(rng: np.random.Generator, times: np.ndarray) -> np.ndarray:
  return _oscillation(_pitch(rng) * times + rng.random())


def _square(rng: np.random.Generator, times: np.ndarray) -> np.ndarray:
  return _harmonics(rng, times, lambda numbers: numbers % 2 / numbers)


def _sawtooth(rng: np.random.Generator, times: np.ndarray) -> np.ndarray:
  return _harmonics(rng, times, lambda numbers: 1 / numbers)


def _chirp_up(rng: np.random.Generator, times: np.ndarray) -> np.ndarray:
  pitch, factor = _pitch(rng), uniform(rng, 1.5, 3)
  growth = pitch * (factor - 1) / times[-1]
  return _oscillation((pitch + growth * times / 2) * times + rng.random())


def _chirp_down(rng: np.random.Generator, times: np.ndarray) -> np.ndarray:
  return _chirp_up(rng, times)[::-1].copy()


def _tremolo(rng: np.random.Generator, times: np.ndarray) -> np.ndarray:
  swing = _oscillation(uniform(rng, *RATE) * times + rng.random())
  return (1 + uniform(rng, 0.6, 1) * swing) * _sine(rng, times)


def _vibrato(rng: np.random.Generator, times: np.ndarray) -> np.ndarray:
  pitch, rate = _pitch(rng), uniform(rng, *RATE)
  deviation = uniform(rng, 0.08, 0.16) * pitch
  swing = _oscillation(rate * times + rng.random()) / (2 * math.pi * rate)  # the integral of another such swing
  return _oscillation(pitch * times + deviation * swing + rng.random())


def _trill(rng: np.random.Generator, times: np.ndarray) -> np.ndarray:
  pitch, factor = _pitch(rng), uniform(rng, 1.25, 1.6)
  upper = (uniform(rng, *RATE) * times + rng.random()) % 1 < 0.5
  return _oscillation(np.cumsum(np.where(upper, pitch * factor, pitch)) / SAMPLE_RATE + rng.random())


def _pluck(rng: np.random.Generator, times: np.ndarray) -> np.ndarray:
  """A string plucked at a part of its length: its harmonics decay, the higher ones faster."""
  place, decay = uniform(rng, 0.1, 0.4), uniform(rng, 2.5, 6)
  return _harmonics(
    rng,
    times,
    lambda numbers: np.sin(math.pi * place * numbers) / numbers * np.exp(-decay * (0.7 + 0.3 * numbers) * times),
  )


def _band_noise(rng: np.random.Generator, times: np.ndarray) -> np.ndarray:
  pitch, width = _pitch(rng), uniform(rng, 0.3, 0.6)
  frequencies = np.fft.rfftfreq(len(times), 1 / SAMPLE_RATE)
  band = np.exp(-0.5 * ((frequencies / pitch - 1) / width) ** 2)
  return np.fft.irfft(np.fft.rfft(noise(rng, len(times))) * band, len(times))


SOUNDS = {
  "sine": _sine,
  "square": _square,
  "sawtooth": _sawtooth,
  "chirp_up": _chirp_up,
  "chirp_down": _chirp_down,
  "tremolo": _tremolo,
  "vibrato": _vibrato,
  "trill": _trill,
  "pluck": _pluck,
  "band_noise": _band_noise,
}


def _pitch(rng: np.random.Generator) -> float:
  """In Hz; every octave is equally likely. Rounded, because the last bit of a power may depend on the machine."""
  return round(PITCH[0] * (PITCH[1] / PITCH[0]) ** rng.random(), 2)


def _oscillation(cycles: np.ndarray) -> np.ndarray:
  return np.sin(2 * math.pi * cycles)


def _harmonics(rng: np.random.Generator, times: np.ndarray, amplitudes) -> np.ndarray:
  """The sum of the harmonics of a pitch up to `HIGHEST`; `amplitudes` maps their numbers, [harmonics, 1], to theirs."""
  pitch = _pitch(rng)
  numbers = np.arange(1, HIGHEST // pitch + 1)[:, None]
  return np.sum(amplitudes(numbers) * _oscillation(numbers * (pitch * times + rng.random())), axis=0)

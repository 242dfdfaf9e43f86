"""Waveforms: cut or pad, shift, change the level of and add noise to the audio of a record.

Samples are int16 throughout; full scale is 32,768, and louder samples are clipped.
"""

import math
from pathlib import Path

import jax
import numpy as np

from cnn_zoo.data.decode import LARGEST, CorruptRecordError, TooLargeError, decode_wav, read_bytes, resample

TASK = "classification"
RANK = 1
FEATURE = "audio"
LABEL = "label"
NO_LABEL = 0
SETTINGS = ("samples", "time_shift", "gain", "noise")
SIZES = ("samples",)
FILE = "a WAV file"

# Valid samples per second; a header with others is broken, and resampling by it takes any amount of memory.
RATES = (1_000, 1_000_000)


def channels(features) -> int:
  """Number of channels, which is always 1."""
  del features
  return 1


def shapes(settings, channels: int) -> tuple[jax.ShapeDtypeStruct, jax.ShapeDtypeStruct]:
  """Shapes and dtypes of an input, int16 [samples, channels], and its label, int32 []."""
  return jax.ShapeDtypeStruct((settings.samples, channels), np.int16), jax.ShapeDtypeStruct((), np.int32)


def make_example(record: dict, info, settings, rng: np.random.Generator | None) -> tuple[np.ndarray, np.int32]:
  """Input and label of `{"audio": int16 [any], "label": int}`.

  Silence is added at the end of audio that is too short. Audio that is too long is cut: with an `rng` the example is
  augmented and starts anywhere in it; otherwise it is the middle.

  Returns:
    int16 [samples, 1], and the label.

  Raises:
    CorruptRecordError: there are no samples.
  """
  audio = record["audio"]
  if not audio.size:
    raise CorruptRecordError("a waveform without samples")
  surplus = max(0, len(audio) - settings.samples)
  start = surplus // 2 if rng is None else int(rng.integers(surplus + 1))
  waveform = np.zeros(settings.samples, np.int16)
  audio = audio[start : start + settings.samples]
  waveform[: len(audio)] = audio
  if rng is not None:
    waveform = augmented_waveform(waveform, settings, rng)
  return waveform[:, None], np.int32(record["label"])


def read_file(file: Path, info, settings, largest: int = LARGEST) -> np.ndarray:
  """The input from a WAV file: int16 [samples, 1].

  Its channels are averaged, and its rate becomes that of the dataset.

  Raises:
    CorruptRecordError: it is no WAV file, its rate is not within `RATES`, or it has more than `largest` samples, as it
      is or at the rate of the dataset.
  """
  samples, rate = decode_wav(read_bytes(file, largest), largest)
  if not RATES[0] <= rate <= RATES[1]:
    raise CorruptRecordError(f"{rate} samples a second, where there must be {RATES[0]:,} to {RATES[1]:,}")
  resampled = math.ceil(len(samples) * info.sample_rate / rate)
  if resampled > largest:
    raise TooLargeError(f"{resampled:,} samples at {info.sample_rate:,} a second, more than {largest:,}")
  mono = samples if samples.shape[1] == 1 else np.rint(samples.mean(axis=1, keepdims=True)).astype(np.int16)
  audio = resample(mono, rate, info.sample_rate)[:, 0]
  return make_example({"audio": audio, "label": 0}, info, settings, None)[0]


def augmented_waveform(waveform: np.ndarray, settings, rng: np.random.Generator) -> np.ndarray:
  """Shifts int16 [samples], filling up with silence, changes its level, and adds white noise.

  The shift, the change in decibels and the standard deviation of the noise are uniform within the limits that
  `settings` gives.
  """
  if settings.time_shift:
    waveform = _shift(waveform, round(settings.time_shift * len(waveform) * rng.uniform(-1, 1)))
  if not settings.gain and not settings.noise:
    return waveform
  louder = waveform.astype(np.float32)
  if settings.gain:
    louder *= np.float32(10 ** (settings.gain * rng.uniform(-1, 1) / 20))
  if settings.noise:
    level = np.float32(32768 * settings.noise * rng.uniform(0, 1))
    louder += level * rng.standard_normal(len(waveform), np.float32)
  return np.clip(np.rint(louder), -32768, 32767).astype(np.int16)


def _shift(waveform: np.ndarray, by: int) -> np.ndarray:
  """[samples], later by `by`, or earlier if it is negative."""
  shifted = np.zeros_like(waveform)
  kept = len(waveform) - abs(by)
  shifted[max(by, 0) : max(by, 0) + kept] = waveform[max(-by, 0) : max(-by, 0) + kept]
  return shifted

"""What happens to one waveform between its record and its batch: cut or pad, shift, change the level, add noise.

Samples are int16 throughout, of which 32,768 is full scale; what gets louder than that is clipped.
"""

import jax
import numpy as np

from cnn_zoo.data.decode import CorruptRecordError

# The fields of `config.data` that are read here, besides those that every kind of dataset has.
SETTINGS = ("samples", "time_shift", "gain", "noise")


def shapes(settings, channels: int) -> tuple[jax.ShapeDtypeStruct, jax.ShapeDtypeStruct]:
  """Shapes and dtypes of an example's input and label."""
  return jax.ShapeDtypeStruct((settings.samples, channels), np.int16), jax.ShapeDtypeStruct((), np.int32)


def make_example(record: dict, dataset, settings, rng: np.random.Generator | None) -> tuple[np.ndarray, np.int32]:
  """Input and label of `{"audio": int16 [any], "label": int}`.

  Silence is added at the end of what is too short. What is too long is cut: a training example, which has an `rng`,
  starts anywhere in it, and a test example is its middle.

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


def augmented_waveform(waveform: np.ndarray, settings, rng: np.random.Generator) -> np.ndarray:
  """Shifts int16 [samples], with silence where nothing comes from, changes its level, and adds white noise.

  Shift, change in decibels and the noise's level (its standard deviation) are uniform in what the settings allow.
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
  """[samples], `by` later, or earlier if it is negative."""
  shifted = np.zeros_like(waveform)
  kept = len(waveform) - abs(by)
  shifted[max(by, 0) : max(by, 0) + kept] = waveform[max(-by, 0) : max(-by, 0) + kept]
  return shifted

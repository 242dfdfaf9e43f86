"""Encoded bytes to numbers. JPEG through simplejpeg (libjpeg-turbo), other images through OpenCV, WAV through SciPy."""

import io
import math
import struct
import warnings

import cv2
import numpy as np
import simplejpeg

# Images are decoded in parallel by threads and processes of their own; OpenCV's threads would only compete with them.
cv2.setNumThreads(1)


class CorruptRecordError(RuntimeError):
  """A record of a dataset cannot be read or decoded; the message names dataset, split and index."""


def decode_image(data: bytes, channels: int, min_height: int = 0, min_width: int = 0) -> np.ndarray:
  """Decodes an image of any format and colour space.

  Args:
    data: the encoded image.
    channels: 3 for RGB, 1 for grayscale.
    min_height: if given with `min_width`, a JPEG may come scaled down, by two or more, to no less than this, in pixels.
    min_width: see `min_height`.

  Returns:
    uint8 [height, width, channels]; orientation tags are ignored, as TFDS and TensorFlow do.

  Raises:
    CorruptRecordError: the bytes do not decode, or stop before the image is complete.
  """
  if data[:2] == b"\xff\xd8":
    try:
      return simplejpeg.decode_jpeg(
        data,
        colorspace="RGB" if channels == 3 else "GRAY",
        min_height=min_height,
        min_width=min_width,
        # Without limits there is nothing to scale to; between one and two, scaling costs more time than it saves.
        min_factor=2 if min_height and min_width else 1,
      )
    except ValueError:
      pass  # OpenCV forgives what some images of ImageNet have (stray bytes between markers), and refuses cut-off ones.
  flags = cv2.IMREAD_COLOR_RGB if channels == 3 else cv2.IMREAD_GRAYSCALE
  try:
    image = cv2.imdecode(np.frombuffer(data, np.uint8), flags | cv2.IMREAD_IGNORE_ORIENTATION)
  except cv2.error:  # for example because there are no bytes at all
    image = None
  if image is None:
    raise CorruptRecordError(f"{len(data)} bytes that are not a complete image: {data[:8]!r}...")
  return image.reshape(*image.shape[:2], channels)


def image_size(data: bytes) -> tuple[int, int]:
  """Height and width of an encoded image, in pixels, from its header where the format is JPEG or PNG.

  Raises:
    CorruptRecordError: as `decode_image` does.
  """
  if data[:2] == b"\xff\xd8":
    try:
      return simplejpeg.decode_jpeg_header(data, strict=False)[:2]
    except ValueError:
      pass
  if data[:8] == b"\x89PNG\r\n\x1a\n" and len(data) >= 24:
    width, height = struct.unpack(">II", data[16:24])
    return height, width
  return decode_image(data, channels=3).shape[:2]


def decode_wav(data: bytes) -> tuple[np.ndarray, int]:
  """Decodes a WAV file: PCM of 8, 16, 24 or 32 bits, or floating-point numbers from -1 to 1.

  Args:
    data: the file.

  Returns:
    int16 [samples, channels], where 32,768 is full scale and what is louder is clipped; and the samples per second.

  Raises:
    CorruptRecordError: the bytes are no WAV file of such numbers, or stop before it is complete.
  """
  from scipy.io import wavfile  # takes a while, and training needs it never

  def corrupt(problem) -> CorruptRecordError:
    return CorruptRecordError(f"{len(data)} bytes that are not a complete WAV file: {problem}")

  with warnings.catch_warnings():
    warnings.simplefilter("ignore", wavfile.WavFileWarning)  # of chunks that say something else than samples
    warnings.filterwarnings("error", message="Reached EOF")
    try:
      rate, samples = wavfile.read(io.BytesIO(data))
    except Exception as error:  # of many kinds, as the bytes go wrong in many ways
      raise corrupt(str(error).splitlines()[0] if str(error) else type(error).__name__) from error
  if not len(samples) or rate < 1:
    raise corrupt(f"{len(samples)} samples, {rate} a second")
  samples = samples.reshape(len(samples), -1)
  if samples.dtype.kind == "f":
    if not np.isfinite(samples).all():
      raise corrupt("a sample is no finite number")
    return _to_int16(samples * 32768.0), rate
  if samples.dtype == np.uint8:  # the only width that is unsigned
    return (samples.astype(np.int16) - 128) << 8, rate
  # SciPy puts 24 bits into the upper ones of 32, so that full scale is that of the type in every case.
  return (samples >> (8 * samples.itemsize - 16)).astype(np.int16), rate


def resample(waveform: np.ndarray, from_rate: int, to_rate: int) -> np.ndarray:
  """Changes the rate of int16 [samples, channels] by polyphase filtering, which leaves out what would alias.

  Returns:
    int16 [ceil(samples * to_rate / from_rate), channels].
  """
  from scipy import signal

  if from_rate == to_rate:
    return waveform
  common = math.gcd(from_rate, to_rate)
  return _to_int16(signal.resample_poly(waveform.astype(np.float64), to_rate // common, from_rate // common, axis=0))


def _to_int16(samples: np.ndarray) -> np.ndarray:
  return np.clip(np.rint(samples), -32768, 32767).astype(np.int16)

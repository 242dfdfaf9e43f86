"""Decoding of images and audio.

JPEG goes through simplejpeg (libjpeg-turbo), images with transparency through Pillow, other images through OpenCV, and
WAV through SciPy.
"""

import io
import math
import stat
import struct
import warnings
from pathlib import Path

import cv2
import numpy as np
import simplejpeg

# Images are decoded in parallel by threads and processes of their own; OpenCV's threads would only compete with them.
cv2.setNumThreads(1)


LARGEST = 100_000_000  # pixels of an image, or samples of a waveform, of a file that a person hands in


class CorruptRecordError(RuntimeError):
  """A record of a dataset cannot be read or decoded; the message names dataset, split and index."""


class TooLargeError(CorruptRecordError):
  """A file that a person hands in would take more memory than is allowed."""


# The EXIF tag of the orientation, and what makes an image upright: whether its axes are swapped first, then the steps
# along its rows and its columns.
_ORIENTATION = 0x0112
_UPRIGHT = {
  2: (False, 1, -1),
  3: (False, -1, -1),
  4: (False, -1, 1),
  5: (True, 1, 1),
  6: (True, 1, -1),
  7: (True, -1, -1),
  8: (True, -1, 1),
}


def read_bytes(file: Path, largest: int) -> bytes:
  """The content of a file that a person hands in, of an image or a waveform.

  Args:
    file: a regular file, because a pipe or a device may never end.
    largest: how many pixels or samples it may have; a file that is longer than these can be is not read.

  Raises:
    CorruptRecordError: it is not a regular file.
    TooLargeError: it is too long.
    OSError: it cannot be read.
  """
  status, limit = file.stat(), 8 * largest + (1 << 20)  # RGBA of 16 bits and samples of 64 bits have 8 bytes
  if not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode):  # that it is a folder, reading says
    raise CorruptRecordError("it is not a regular file")
  if status.st_size > limit:
    raise TooLargeError(f"{status.st_size:,} bytes, more than {largest:,} pixels or samples need")
  return file.read_bytes()


def decode_image(
  data: bytes, channels: int, min_height: int = 0, min_width: int = 0, *, upright: bool = False
) -> np.ndarray:
  """Decodes an image of any format and colour space.

  Transparent images (RGBA, gray with alpha, palettes and colours declared transparent, in any format that has them) are
  composited on white, so that two files that look alike decode alike.

  Example:
    >>> import cv2
    >>> import numpy as np
    >>> from cnn_zoo.data.decode import decode_image
    >>> black_but_transparent = cv2.imencode(".png", np.zeros((2, 2, 4), np.uint8))[1].tobytes()
    >>> decode_image(black_but_transparent, channels=1)[:, :, 0].tolist()
    [[255, 255], [255, 255]]

  Args:
    data: the encoded image.
    channels: 3 for RGB, 1 for grayscale.
    min_height: if given with `min_width`, a JPEG may come scaled down, by two or more, to no less than this, in pixels.
    min_width: see `min_height`.
    upright: whether the EXIF orientation is honoured, as for files that people hand in. Records of datasets are decoded
      without, as TFDS and TensorFlow do, because published accuracies are of images decoded so.

  Returns:
    uint8 [height, width, channels].

  Raises:
    CorruptRecordError: the bytes do not decode, or stop before the image is complete.
  """
  if data[:2] == b"\xff\xd8":
    orientation = _jpeg_orientation(data) if upright else 1
    if orientation in _UPRIGHT and _UPRIGHT[orientation][0]:
      min_height, min_width = min_width, min_height
    try:
      image = simplejpeg.decode_jpeg(
        data,
        colorspace="RGB" if channels == 3 else "GRAY",
        min_height=min_height,
        min_width=min_width,
        # Without limits there is nothing to scale to; between one and two, scaling costs more time than it saves.
        min_factor=2 if min_height and min_width else 1,
      )
      return _upright(image, orientation)
    except ValueError:
      pass  # OpenCV forgives what some images of ImageNet have (stray bytes between markers), and refuses cut-off ones.
  elif (transparent := _transparent(data)) is not None:
    return _on_white(transparent, data, channels, upright)
  flags = cv2.IMREAD_COLOR_RGB if channels == 3 else cv2.IMREAD_GRAYSCALE
  flags |= 0 if upright else cv2.IMREAD_IGNORE_ORIENTATION
  try:
    image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
  except cv2.error:  # for example because there are no bytes at all
    image = None
  if image is None:
    raise _incomplete(data)
  return image.reshape(*image.shape[:2], channels)


def _incomplete(data: bytes) -> CorruptRecordError:
  return CorruptRecordError(f"{len(data)} bytes that are not a complete image: {data[:8]!r}...")


def _jpeg_orientation(data: bytes) -> int:
  """The EXIF orientation of a JPEG, 1 (upright) to 8."""
  from PIL import JpegImagePlugin  # takes a while, and training does not need it

  try:  # the class itself, as Image.open refuses large photographs
    return JpegImagePlugin.JpegImageFile(io.BytesIO(data)).getexif().get(_ORIENTATION, 1)
  except Exception:  # of many kinds; whether the image is broken, its decoder says
    return 1


def _upright(image: np.ndarray, orientation: int) -> np.ndarray:
  """[height, width, channels], or its axes swapped, from an image of an EXIF orientation."""
  if orientation not in _UPRIGHT:
    return image
  swapped, down, right = _UPRIGHT[orientation]
  return np.ascontiguousarray((image.swapaxes(0, 1) if swapped else image)[::down, ::right])


def _transparent(data: bytes):
  """The image, opened by Pillow, if it has transparent pixels or may have some, else None."""
  if data[:8] == b"\x89PNG\r\n\x1a\n" and data[25:26] in (b"\0", b"\2", b"\3") and b"tRNS" not in data:
    return None  # the usual case, known without Pillow: neither an alpha channel nor a transparent colour
  from PIL import Image

  try:
    image = Image.open(io.BytesIO(data))
    return image if image.has_transparency_data else None
  except Image.DecompressionBombError as error:
    raise CorruptRecordError(f"an image that may be transparent is too large: {error}") from error
  except Exception:  # of many kinds; whether it is an image at all, OpenCV says
    return None


def _on_white(image, data: bytes, channels: int, upright: bool) -> np.ndarray:
  """A transparent image, opened by Pillow, composited on white: uint8 [height, width, channels]."""
  from PIL import Image, ImageOps

  try:
    image = (ImageOps.exif_transpose(image) if upright else image).convert("RGBA")
  except Exception as error:  # of many kinds
    raise _incomplete(data) from error
  white = Image.new("RGBA", image.size, "white")
  opaque = np.asarray(Image.alpha_composite(white, image).convert("RGB" if channels == 3 else "L"))
  return opaque.reshape(*opaque.shape[:2], channels)


def image_size(data: bytes) -> tuple[int, int]:
  """Height and width of an encoded image, in pixels, from its header where the format is JPEG or PNG.

  Raises:
    CorruptRecordError: as `decode_image` does.
  """
  return _header_size(data) or decode_image(data, channels=3).shape[:2]


def check_image_size(data: bytes, largest: int) -> None:
  """Checks the number of pixels that the header of an image in any format claims, before it is decoded.

  Args:
    data: the encoded image.
    largest: how many pixels it may have.

  Raises:
    CorruptRecordError: it is not an image.
    TooLargeError: it has more pixels.
  """
  size = _header_size(data)
  if size is None:
    from PIL import Image

    try:
      with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        width, height = Image.open(io.BytesIO(data)).size
    except Image.DecompressionBombError as error:
      raise TooLargeError(str(error)) from error
    except Exception as error:  # of many kinds
      raise _incomplete(data) from error
    size = height, width
  if size[0] * size[1] > largest:
    raise TooLargeError(f"{size[0]:,} x {size[1]:,} pixels, more than {largest:,}")


def _header_size(data: bytes) -> tuple[int, int] | None:
  """Height and width of a JPEG or a PNG; None of what is neither, or is broken."""
  if data[:2] == b"\xff\xd8":
    try:
      height, width, *_ = simplejpeg.decode_jpeg_header(data, strict=False)
      return int(height), int(width)
    except ValueError:
      return None
  if data[:8] == b"\x89PNG\r\n\x1a\n" and len(data) >= 24:
    width, height = struct.unpack(">II", data[16:24])
    return height, width
  return None


def decode_wav(data: bytes, largest: int | None = None) -> tuple[np.ndarray, int]:
  """Decodes a WAV file: PCM of 8, 16, 24 or 32 bits, or floating-point numbers from -1 to 1.

  Args:
    data: the file.
    largest: how many samples it may have, of all channels together; None for any number.

  Returns:
    int16 [samples, channels], where 32,768 is full scale and louder samples are clipped; and the samples per second.

  Raises:
    CorruptRecordError: the bytes are no WAV file of such numbers, or stop before it is complete.
    TooLargeError: it has more samples.
  """
  from scipy.io import wavfile  # takes a while, and training does not need it

  def corrupt(problem) -> CorruptRecordError:
    return CorruptRecordError(f"{len(data)} bytes that are not a complete WAV file: {problem}")

  claimed, held = _wav_samples(data)
  if claimed > held:  # SciPy returns what there is
    raise corrupt(f"the header claims {claimed:,} bytes of samples, and {held:,} follow")
  with warnings.catch_warnings():
    warnings.simplefilter("ignore", wavfile.WavFileWarning)  # about chunks without samples
    warnings.filterwarnings("error", message="Reached EOF")
    try:
      rate, samples = wavfile.read(io.BytesIO(data))
    except Exception as error:  # of many kinds
      raise corrupt(str(error).splitlines()[0] if str(error) else type(error).__name__) from error
  if not len(samples) or rate < 1:
    raise corrupt(f"{len(samples)} samples, {rate} a second")
  if largest is not None and samples.size > largest:
    raise TooLargeError(f"{samples.size:,} samples, more than {largest:,}")
  samples = samples.reshape(len(samples), -1)
  if samples.dtype.kind == "f":
    if not np.isfinite(samples).all():
      raise corrupt("a sample is no finite number")
    return _to_int16(samples * 32768.0), rate
  if samples.dtype == np.uint8:  # the only width that is unsigned
    return (samples.astype(np.int16) - 128) << 8, rate
  # SciPy puts 24 bits into the upper ones of 32, so that full scale is that of the type in every case.
  return (samples >> (8 * samples.itemsize - 16)).astype(np.int16), rate


def _wav_samples(data: bytes) -> tuple[int, int]:
  """How many bytes of samples the header of a WAV file claims, and how many follow it; (0, 0) without samples."""
  order, start = ">" if data[:4] == b"RIFX" else "<", 12
  while start + 8 <= len(data):
    name, (size,) = data[start : start + 4], struct.unpack(f"{order}I", data[start + 4 : start + 8])
    if name == b"data":
      if data[:4] == b"RF64" and len(data) >= 36:  # its chunk "ds64", the first one, has it
        (size,) = struct.unpack("<Q", data[28:36])
      return size, len(data) - start - 8
    start += 8 + size + size % 2
  return 0, 0


def resample(waveform: np.ndarray, from_rate: int, to_rate: int) -> np.ndarray:
  """Changes the rate of int16 [samples, channels] by polyphase filtering, which removes what would alias.

  Returns:
    int16 [ceil(samples * to_rate / from_rate), channels].
  """
  from scipy import signal

  if from_rate == to_rate:
    return waveform
  common = math.gcd(from_rate, to_rate)
  return _to_int16(signal.resample_poly(waveform.astype(np.float64), to_rate // common, from_rate // common, axis=0))


def _to_int16(samples: np.ndarray) -> np.ndarray:
  """Rounded and clipped; overwrites `samples`, which may be large."""
  return np.clip(np.rint(samples, out=samples), -32768, 32767, out=samples).astype(np.int16)

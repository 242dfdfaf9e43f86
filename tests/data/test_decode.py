import io
import struct
import wave

import cv2
import numpy as np
import pytest
import simplejpeg
from PIL import Image
from scipy.io import wavfile

from cnn_zoo.data.decode import CorruptRecordError, decode_image, decode_wav, image_size, resample
from tests.helpers.tiny_datasets import encode_png


def smooth(height, width, channels=3):
  pixels = np.random.default_rng(0).integers(0, 256, (6, 8, channels), dtype=np.uint8)
  return cv2.resize(pixels, (width, height), interpolation=cv2.INTER_CUBIC).reshape(height, width, channels)


def pillow(image, mode, **options):
  data = io.BytesIO()
  Image.fromarray(image).convert(mode).save(data, **options)
  return data.getvalue()


def test_png_is_lossless_and_rgb():
  for channels in (1, 3):
    image = smooth(20, 30, channels)
    np.testing.assert_array_equal(decode_image(encode_png(image), channels), image)
    assert image_size(encode_png(image)) == (20, 30)


@pytest.mark.parametrize("mode", ["RGB", "CMYK"])
def test_jpeg_is_rgb(mode):
  image = smooth(60, 80)
  data = pillow(image, mode, format="jpeg", quality=95)
  assert image_size(data) == (60, 80)
  assert np.abs(decode_image(data, 3).astype(int) - image).mean() < 3


def test_grayscale_and_colour_are_converted():
  image = smooth(60, 80)
  gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
  for save in ({"format": "jpeg", "quality": 95}, {"format": "png"}):
    assert np.abs(decode_image(pillow(image, "RGB", **save), 1)[:, :, 0].astype(int) - gray).mean() < 2
    as_rgb = decode_image(pillow(image, "L", **save), 3)
    assert as_rgb.shape == (60, 80, 3) and (as_rgb[:, :, 0] == as_rgb[:, :, 2]).all()


def test_jpeg_is_scaled_down_by_two_or_more_or_not_at_all():
  image = smooth(300, 400)
  data = simplejpeg.encode_jpeg(image, quality=95)
  assert decode_image(data, 3, 160, 100).shape == (300, 400, 3)
  half = decode_image(data, 3, 140, 100)
  assert half.shape == (150, 200, 3)
  assert np.abs(half.astype(int) - cv2.resize(image, (200, 150), interpolation=cv2.INTER_AREA)).mean() < 1
  assert decode_image(data, 3, 30, 100).shape == (75, 100, 3)


def test_orientation_tags_are_ignored():
  exif = Image.Exif()
  exif[0x0112] = 6
  for format in ("jpeg", "png"):
    assert decode_image(pillow(smooth(20, 30), "RGB", format=format, exif=exif), 3).shape == (20, 30, 3)


def test_a_large_photograph_is_upright(monkeypatch):
  """Larger than Pillow opens without complaint."""
  monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
  exif = Image.Exif()
  exif[0x0112] = 6
  data = pillow(smooth(20, 30), "RGB", format="jpeg", exif=exif)
  assert decode_image(data, 3, upright=True).shape == (30, 20, 3)


# Files of a black stroke on transparent ground, of which the colour is black in one of a pair and red in the other.
TRANSPARENT = {
  "rgba.png": ("RGBA", {"format": "png"}),
  "gray and alpha.png": ("LA", {"format": "png"}),
  "webp": ("RGBA", {"format": "webp", "lossless": True, "exact": True}),
  "tiff": ("RGBA", {"format": "tiff"}),
}


@pytest.mark.parametrize("case", TRANSPARENT)
@pytest.mark.parametrize("channels", [1, 3])
def test_transparent_images_are_composited_on_white(case, channels):
  mode, options = TRANSPARENT[case]
  image = np.zeros((6, 6, 4), np.uint8)
  image[2:4, :, 3] = 255
  image[4, :, 3] = 127
  decoded = []
  for hidden in ((0, 0, 0), (255, 0, 0)):
    image[:2, :, :3] = hidden
    decoded.append(decode_image(pillow(image, mode, **options), channels))
  for result in decoded:
    assert result.shape == (6, 6, channels) and result.dtype == np.uint8
    assert np.unique(result[:2]) == 255 and not result[2:4].any()
    assert (result[4] == 128).all() and np.unique(result[5]) == 255


@pytest.mark.parametrize("transparency", [0, bytes([0, 255])])
@pytest.mark.parametrize("mode", ["P", "L", "RGB"])
def test_transparent_colours_are_composited_on_white(mode, transparency):
  """Of a palette, or one that the header of a PNG names."""
  image = Image.new("P", (4, 4), 1)
  image.putpalette([0, 0, 0, 10, 200, 30])
  image.paste(0, (0, 0, 4, 2))
  if mode != "P":
    image, transparency = image.convert(mode), 0 if mode == "L" else (0, 0, 0)
  data = io.BytesIO()
  image.save(data, format="png", transparency=transparency)
  result = decode_image(data.getvalue(), 3)
  assert np.unique(result[:2]) == 255
  assert result[2:].reshape(-1, 3).tolist() == [list(image.convert("RGB").getpixel((0, 3)))] * 8


def test_a_transparent_image_that_is_too_large(monkeypatch):
  """It is refused; what is under transparency never shows."""
  data = pillow(np.zeros((6, 6, 4), np.uint8), "RGBA", format="png")
  monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
  with pytest.raises(CorruptRecordError, match="an image that may be transparent is too large: Image size"):
    decode_image(data, 3)


def test_a_cut_off_transparent_image():
  data = pillow(np.random.default_rng(0).integers(0, 256, (40, 40, 4), dtype=np.uint8), "RGBA", format="png")
  with pytest.raises(CorruptRecordError, match="not a complete image"):
    decode_image(data[:-300], 3)


def test_stray_bytes_in_a_jpeg_are_forgiven():
  data = simplejpeg.encode_jpeg(smooth(60, 80), quality=95)
  data = data[:20] + b"\x11\x22\x33" + data[20:]  # after the first segment
  with pytest.raises(ValueError, match="extraneous"):
    simplejpeg.decode_jpeg(data)
  assert decode_image(data, 3).shape == (60, 80, 3)


@pytest.mark.parametrize(
  "data",
  [
    b"",
    b"\xff\xd8",
    b"\xff\xd8 no header",
    b"not an image",
    simplejpeg.encode_jpeg(smooth(60, 80))[:-200],
    encode_png(smooth(60, 80))[:20],
    encode_png(smooth(60, 80))[:-300],
  ],
)
def test_what_is_no_complete_image(data):
  with pytest.raises(CorruptRecordError, match="not a complete image"):
    decode_image(data, 3)


SAMPLES = np.random.default_rng(0).integers(-32768, 32768, (200, 2)).astype(np.int16)


def wav(samples, rate=8000):
  data = io.BytesIO()
  wavfile.write(data, rate, samples)
  return data.getvalue()


def wav_of_24_bits(samples):
  data = io.BytesIO()
  with wave.open(data, "wb") as file:
    file.setparams((samples.shape[1], 3, 8000, 0, "NONE", ""))
    file.writeframes(b"".join(struct.pack("<i", int(sample) << 8)[:3] for sample in samples.ravel()))
  return data.getvalue()


def test_wav_of_any_width():
  for data in (
    wav(SAMPLES),
    wav_of_24_bits(SAMPLES),
    wav(SAMPLES.astype(np.int32) << 16),
    wav(SAMPLES.astype(np.float32) / 32768),
    wav(SAMPLES / 32768),
  ):
    samples, rate = decode_wav(data)
    assert samples.dtype == np.int16 and rate == 8000
    np.testing.assert_array_equal(samples, SAMPLES)
  samples, _ = decode_wav(wav(((SAMPLES >> 8) + 128).astype(np.uint8)))
  np.testing.assert_array_equal(samples, SAMPLES >> 8 << 8)


def test_wav_in_mono_and_with_other_chunks():
  samples, rate = decode_wav(wav(SAMPLES[:, 0], 16000))
  assert samples.shape == (200, 1) and rate == 16000
  data = wav(SAMPLES)
  data = data[:12] + b"what" + struct.pack("<I", 4) + b"ever" + data[12:]
  np.testing.assert_array_equal(decode_wav(data)[0], SAMPLES)


def test_loud_wav_is_clipped():
  samples, _ = decode_wav(wav(np.array([-3, -1, -0.5, 1, 1.5], np.float32)))
  assert samples[:, 0].tolist() == [-32768, -32768, -16384, 32767, 32767]


@pytest.mark.parametrize(
  "data",
  [
    b"",
    b"RIFF",
    b"not a wave file",
    encode_png(smooth(20, 30)),
    wav(SAMPLES)[:30],
    wav(SAMPLES)[:44],
    wav(SAMPLES)[:-1],
    wav(SAMPLES)[:-2],
    wav(SAMPLES)[:-4],
    wav_of_24_bits(SAMPLES)[:-6],
    wav(SAMPLES[:0]),
    wav(np.array([0.5, np.nan], np.float32)),
  ],
)
def test_what_is_no_complete_wav(data):
  with pytest.raises(CorruptRecordError, match=f"{len(data)} bytes that are not a complete WAV file: ") as error:
    decode_wav(data)
  assert "\n" not in str(error.value)


@pytest.mark.parametrize("kind", ["RIFF", "RIFX", "RF64"])
def test_a_wav_whose_header_claims_more_than_it_holds(kind):
  """The size of the whole file is that of the file; that of the samples is larger, or not known, as in a stream."""
  order = ">" if kind == "RIFX" else "<"
  samples = np.arange(100).astype(f"{order}i2").tobytes()
  ds64 = b"ds64" + struct.pack("<IQQQI", 28, 272, 200, 100, 0) if kind == "RF64" else b""
  fmt = b"fmt " + struct.pack(f"{order}IHHIIHH", 16, 1, 1, 8000, 16000, 2, 16)

  def write(claimed, samples):
    body = b"WAVE" + ds64.replace(struct.pack("<Q", 200), struct.pack("<Q", claimed)) + fmt
    size = 0xFFFFFFFF if kind == "RF64" else claimed
    body += b"data" + struct.pack(f"{order}I", size) + samples
    return kind.encode() + struct.pack(f"{order}I", len(body)) + body

  np.testing.assert_array_equal(decode_wav(write(200, samples))[0][:, 0], np.arange(100))
  for claimed in (202, 2_000_000_000):
    with pytest.raises(CorruptRecordError, match=f"the header claims {claimed:,} bytes of samples, and 200 follow$"):
      decode_wav(write(claimed, samples))


@pytest.mark.parametrize(("from_rate", "to_rate"), [(8000, 16000), (44100, 16000), (16000, 8000)])
def test_resampling_keeps_tones_and_drops_what_would_alias(from_rate, to_rate):
  def tone(frequency, rate):
    return (10000 * np.sin(2 * np.pi * frequency * np.arange(rate) / rate)).astype(np.int16)[:, None]

  result = resample(tone(440, from_rate), from_rate, to_rate)
  assert result.shape == (to_rate, 1) and result.dtype == np.int16
  inner = slice(to_rate // 10, -to_rate // 10)  # the filter sees silence beyond the ends
  np.testing.assert_allclose(result[inner], tone(440, to_rate)[inner], atol=100)
  if from_rate > to_rate:
    assert np.abs(resample(tone(to_rate * 0.6, from_rate), from_rate, to_rate)[inner]).max() < 1000


def test_resampling_to_the_same_rate_changes_nothing():
  np.testing.assert_array_equal(resample(SAMPLES, 8000, 8000), SAMPLES)

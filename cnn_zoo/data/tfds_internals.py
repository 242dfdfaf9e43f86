"""All uses of TFDS that its documentation does not promise to keep, which is why its version is bounded.

`stand_ins`: modules that TFDS asks for while it makes a builder or prepares a dataset, and that need not be installed.
`checksums`: what happens to downloaded files that are not those that TFDS expects. `record_parser`: reading serialized
records without TensorFlow.
"""

import contextlib
import functools
import glob
import importlib.util
import os
import resource
import sys
import threading
import types
from collections.abc import Callable, Generator

import cv2
import numpy as np

from cnn_zoo.data.decode import CorruptRecordError, decode_image, decode_wav
from cnn_zoo.errors import UserError

_LOCK = threading.RLock()


@contextlib.contextmanager
def stand_ins() -> Generator[None]:
  """A context in which TFDS finds a stand-in for each of these modules that is not installed.

  TensorFlow: TFDS and the builders of our datasets read and write files through `tf.io.gfile`, decode and encode images
  with `tf.image` and name the types of audio and video with `tf.dtypes`, and use it for nothing else. `pydub`: the
  builder of `speech_commands` reads WAV files with it.

  Contexts may be nested. Only one thread at a time is in a context; others wait.
  """
  with _LOCK:
    yield from _stand_ins()


def _stand_ins() -> Generator[None]:
  from tensorflow_datasets.core.utils import lazy_imports_utils

  # TFDS imports it lazily: it has a proxy, which keeps the module in `_module` once it has imported it.
  proxy = vars(lazy_imports_utils.tensorflow)
  replaced = _is_missing("tensorflow") and "_module" not in proxy  # which an outer context may have set
  modules: dict = {"pydub": _pydub()} if _is_missing("pydub") else {}
  # TFDS shuffles large datasets through 1,000 open files, and raises the limit only on the errors of TensorFlow.
  soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
  enough = 4096 if hard == resource.RLIM_INFINITY else min(hard, 4096)
  if soft != resource.RLIM_INFINITY and soft < enough:
    resource.setrlimit(resource.RLIMIT_NOFILE, (enough, hard))
  if replaced:
    proxy["_module"] = _tensorflow()
  sys.modules.update(modules)
  try:
    yield
  finally:
    if replaced:
      del proxy["_module"]
    for name in modules:
      del sys.modules[name]


@contextlib.contextmanager
def checksums(accept: bool) -> Generator[None]:
  """A context in which a file whose checksum TFDS does not expect is accepted, or raises UserError, which names it."""
  from tensorflow_datasets.core.download.download_manager import DownloadManager, NonMatchingChecksumError

  original = DownloadManager._register_or_validate_checksums

  def validate(self, url, url_info, path) -> None:
    try:
      original(self, url=url, url_info=url_info, path=path)
    except NonMatchingChecksumError as error:
      if not accept:
        expected = self._url_infos[url].checksum
        raise UserError(
          f"{path} is not the file that TFDS expects: SHA-256 {expected} expected, {url_info.checksum} found; replace "
          "it, or use it all the same with --accept_checksums"
        ) from error

  DownloadManager._register_or_validate_checksums = validate
  try:
    yield
  finally:
    DownloadManager._register_or_validate_checksums = original


def record_parser(features) -> Callable[[bytes], dict]:
  """The function that makes a record of its serialized form, from the features of a builder."""
  from tensorflow_datasets.core.example_parser import ExampleParserNp

  parser = ExampleParserNp(features.get_serialized_info())
  decode_audio = features["audio"].decode_example_np if "audio" in features else None
  return functools.partial(_parse_record, parser, decode_audio)


def _parse_record(parser, decode_audio, serialized: bytes) -> dict:
  record = parser.parse_example(serialized)
  if decode_audio:
    record["audio"] = decode_audio(record["audio"])
  return record


def _is_missing(name: str) -> bool:
  return name not in sys.modules and importlib.util.find_spec(name) is None


class _Module(types.SimpleNamespace):
  """A module, or part of one, with some of its names; asking for another raises ImportError."""

  def __getattr__(self, name: str):
    raise ImportError(f"tensorflow.{name}")


class _Result(types.SimpleNamespace):
  """The part that TFDS uses of what the functions of `tf.image` return."""

  def numpy(self):
    return self.value


def _tensorflow() -> _Module:
  gfile = _Module(GFile=_open, exists=os.path.exists, listdir=os.listdir, glob=glob.glob, remove=os.remove)
  image = _Module(
    decode_jpeg=lambda data: _Result(value=decode_image(data, channels=3)),
    decode_png=lambda data, channels: _Result(value=decode_image(data, channels)),
    encode_jpeg=lambda image, format, quality: _encode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality]),
    encode_png=lambda image: _encode(".png", image),
    decode_image=lambda data: decode_image(data, channels=3),
  )
  return _Module(
    executing_eagerly=lambda: True,
    compat=_Module(as_text=str),
    errors=_Module(UnimplementedError=NotImplementedError),
    io=_Module(gfile=gfile, encode_jpeg=lambda image: _encode(".jpg", image)),
    image=image,
    shape=np.shape,
    dtypes=_Module(as_dtype=np.dtype),
  )


def _pydub() -> types.ModuleType:
  """The part of pydub that reads a WAV file of 16 bits."""

  def from_file(file, format: str):
    waveform, _ = decode_wav(file.read())
    return types.SimpleNamespace(get_array_of_samples=waveform.ravel)

  module = types.ModuleType("pydub")
  vars(module).update(
    AudioSegment=types.SimpleNamespace(from_file=from_file),
    exceptions=types.SimpleNamespace(CouldntDecodeError=CorruptRecordError),
  )
  return module


def _open(path, mode: str = "r"):
  return open(path, mode, encoding=None if "b" in mode else "utf-8")


def _encode(extension: str, image, options=()) -> _Result:
  pixels = np.asarray(image)
  pixels = pixels[:, :, ::-1] if pixels.shape[2] == 3 else pixels  # OpenCV takes BGR
  return _Result(value=cv2.imencode(extension, pixels, list(options))[1].tobytes())

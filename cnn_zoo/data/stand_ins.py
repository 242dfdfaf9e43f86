"""Stand-ins for modules that TFDS asks for while it makes a builder or prepares a dataset; they need not be installed.

TensorFlow: TFDS and the builders of our table read and write files through `tf.io.gfile`, decode and encode images with
`tf.image` and name the types of audio and video with `tf.dtypes`, and use it for nothing else. `pydub`: the builder of
`speech_commands` reads WAV files with it. `importlib_resources`: TFDS 4.9.10 imports this backport of
`importlib.resources` without requiring it. What is installed is used instead.
"""

import contextlib
import glob
import importlib.resources.abc
import importlib.util
import os
import resource
import sys
import threading
import types
from collections.abc import Iterator

import cv2
import numpy as np

from cnn_zoo.data.decode import CorruptRecordError, decode_image, decode_wav

_LOCK = threading.RLock()


@contextlib.contextmanager
def stand_ins() -> Iterator[None]:
  """Within the context, TFDS finds a stand-in for each of the modules that is not installed.

  Contexts may be nested; of several threads, one at a time is in one.
  """
  with _LOCK:
    yield from _stand_ins()


def _stand_ins() -> Iterator[None]:
  from tensorflow_datasets.core import dataset_builder
  from tensorflow_datasets.core.utils import lazy_imports_utils

  # TFDS imports both lazily: it has proxies, which keep the module in `_module` once they have imported it.
  proxies = [(lazy_imports_utils.tensorflow, _tensorflow()), (dataset_builder.importlib_resources, importlib.resources)]
  proxies = [(proxy, module) for proxy, module in proxies if _is_missing(proxy.module_name)]
  proxies = [(proxy, module) for proxy, module in proxies if "_module" not in vars(proxy)]  # by a context around this
  modules = {"pydub": _pydub()} if _is_missing("pydub") else {}
  # TFDS shuffles large datasets through 1,000 open files, and raises the limit only on the errors of TensorFlow.
  soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
  enough = 4096 if hard == resource.RLIM_INFINITY else min(hard, 4096)
  if soft != resource.RLIM_INFINITY and soft < enough:
    resource.setrlimit(resource.RLIMIT_NOFILE, (enough, hard))
  for proxy, module in proxies:
    vars(proxy)["_module"] = module
  sys.modules.update(modules)
  try:
    yield
  finally:
    for proxy, _ in proxies:
      del vars(proxy)["_module"]
    for name in modules:
      del sys.modules[name]


def _is_missing(name: str) -> bool:
  return name not in sys.modules and importlib.util.find_spec(name) is None


class _Module(types.SimpleNamespace):
  """A module, or part of one, that has some names; asking for another says that the real module is needed."""

  def __getattr__(self, name: str):
    raise ImportError(f"tensorflow.{name}")


class _Result(types.SimpleNamespace):
  """What the functions of `tf.image` return, as far as TFDS looks at it."""

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


def _pydub() -> types.SimpleNamespace:
  """As much of pydub as reads a WAV file of 16 bits."""

  def from_file(file, format: str):
    waveform, _ = decode_wav(file.read())
    return types.SimpleNamespace(get_array_of_samples=waveform.ravel)

  return types.SimpleNamespace(
    AudioSegment=types.SimpleNamespace(from_file=from_file),
    exceptions=types.SimpleNamespace(CouldntDecodeError=CorruptRecordError),
  )


def _open(path, mode: str = "r"):
  return open(path, mode, encoding=None if "b" in mode else "utf-8")


def _encode(extension: str, image, options=()) -> _Result:
  pixels = np.asarray(image)
  pixels = pixels[:, :, ::-1] if pixels.shape[2] == 3 else pixels  # OpenCV takes BGR
  return _Result(value=cv2.imencode(extension, pixels, list(options))[1].tobytes())

"""The memory of programs on CPUs."""

import ctypes
import importlib.metadata
import importlib.util
import os
import platform
import warnings

from jax._src import xla_bridge

# Numbers of options in glibc's malloc.h.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX, _ARENA_MAX = -1, -2, -4, -8

_configured = False


def configure_runtime() -> None:
  """Configures this process for fast training on CPUs; on other platforms and C libraries it does nothing.

  Call it once at the start of a program, before JAX starts: the first array, `jax.devices()` and the first jitted call
  start it, importing JAX or `cnn_zoo` does not. Further calls do nothing. `train.py`, `eval.py` and the scripts call it
  themselves.

  XLA allocates the working memory of a program at each call. By default glibc maps blocks of that size from the
  operating system and unmaps them when they are freed, so that each page is mapped and cleared again in every step: 40%
  of the time of EfficientNet-B0's training step at 224 px on 2 cores (docs/benchmarks.md). This call makes glibc keep
  freed memory for the next allocation. The process then holds its peak memory until it ends.

  Warns:
    RuntimeWarning: if JAX has already started. Its threads have taken their memory pools by then, so that the call has
      little or no effect.

  Example:
    >>> import cnn_zoo
    >>> cnn_zoo.configure_runtime()
  """
  global _configured
  if _configured:
    return
  _configured = True
  if not _is_on_cpu() or platform.libc_ver()[0] != "glibc":
    return
  if xla_bridge.backends_are_initialized():
    message = "configure_runtime() came too late: JAX has already started; call it before the first array is made"
    warnings.warn(message, RuntimeWarning, stacklevel=2)
  keep_freed_memory()


def keep_freed_memory() -> None:
  """Makes glibc keep what is freed for the next allocation."""
  libc = ctypes.CDLL(None)
  libc.mallopt(_ARENA_MAX, 1)  # the arenas of other threads cannot hold blocks of more than 64 MB
  libc.mallopt(_MMAP_MAX, 0)
  libc.mallopt(_TRIM_THRESHOLD, -1)
  libc.mallopt(_TOP_PAD, 64 << 20)


def _is_on_cpu():
  """Whether JAX will find only CPUs. This looks at what is installed, since asking JAX would start it."""
  platforms = os.environ.get("JAX_PLATFORMS", "")
  if platforms:
    return platforms == "cpu"
  plugins = importlib.metadata.entry_points(group="jax_plugins")
  return not plugins and importlib.util.find_spec("libtpu") is None

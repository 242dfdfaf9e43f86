"""The memory of programs on CPUs."""

import ctypes
import importlib.metadata
import importlib.util
import os
import platform

# Numbers of options in glibc's malloc.h.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX, _ARENA_MAX = -1, -2, -4, -8


def keep_freed_memory() -> None:
  """Makes the C library keep what is freed for the next allocation, if this process computes on CPUs under glibc.

  XLA allocates the working memory of a program anew at each call. By default glibc maps blocks of that size from the
  operating system and gives them back, so that in every step each page is cleared and mapped again: 40% of the time of
  EfficientNet-B0's training step at 224 px on 2 cores (docs/benchmarks.md). The process then holds its peak memory to
  its end.

  It has to come before JAX starts its threads, which is when JAX first looks for devices.
  """
  if _is_on_cpu() and platform.libc_ver()[0] == "glibc":
    libc = ctypes.CDLL(None)
    libc.mallopt(_ARENA_MAX, 1)  # the arenas of other threads cannot hold blocks of more than 64 MB
    libc.mallopt(_MMAP_MAX, 0)
    libc.mallopt(_TRIM_THRESHOLD, -1)
    libc.mallopt(_TOP_PAD, 64 << 20)


def _is_on_cpu():
  """Whether JAX will find nothing but CPUs; told by what is installed, since asking JAX would start it."""
  platforms = os.environ.get("JAX_PLATFORMS", "")
  if platforms:
    return platforms == "cpu"
  plugins = importlib.metadata.entry_points(group="jax_plugins")
  return not plugins and importlib.util.find_spec("libtpu") is None

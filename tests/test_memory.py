"""cnn_zoo.configure_runtime() in programs that only import cnn_zoo, each in a process of its own."""

import os
import subprocess
import sys

import pytest

# Prints how much of 256 MB, allocated by malloc and freed again, the process still holds, in MB.
HELD = """
import ctypes, resource
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]
def resident(): return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize() >> 20
before = resident()
block = libc.malloc(256 << 20)
ctypes.memset(block, 1, 256 << 20)
libc.free(block)
print(resident() - before)
"""
IMPORT, CALL = "import cnn_zoo", "cnn_zoo.configure_runtime()"
START = "import jax; jax.devices()"


def run(*lines, platform="cpu"):
  """(stdout, stderr) of a program of these lines."""
  environment = {**os.environ, "JAX_PLATFORMS": platform, "PYTHONWARNINGS": "always::RuntimeWarning"}
  command = [sys.executable, "-c", "\n".join(lines)]
  done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
  return done.stdout, done.stderr


@pytest.mark.parametrize(("lines", "held"), [([IMPORT], 0), ([IMPORT, CALL], 256), ([IMPORT, CALL, CALL], 256)])
def test_freed_memory_is_kept_on_request(lines, held):
  out, err = run(*lines, HELD)
  assert abs(int(out) - held) < 32 and "RuntimeWarning" not in err


def test_other_platforms_are_left_alone():
  out, err = run(IMPORT, CALL, HELD, platform="cuda,cpu")
  assert int(out) < 32 and "RuntimeWarning" not in err


def test_too_late():
  """Importing cnn_zoo does not start JAX; what starts it before the call is reported, once."""
  assert "RuntimeWarning" not in run(IMPORT, CALL, START, CALL)[1]
  late = run(IMPORT, START, CALL, CALL)[1]
  assert late.count("RuntimeWarning: configure_runtime() came too late: JAX has already started") == 1

"""Measuring time: contenders that take turns, the peak rates of the machine, and the machine's description."""

import functools
import math
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence

import flax
import jax
import jax.numpy as jnp

from cnn_zoo.benchmarks.pytorch import Torch
from cnn_zoo.errors import UserError, check_name

DTYPES = ("float32", "bfloat16")
"""What can be computed in."""

_TURN_SECONDS = 0.01  # the least duration of a turn; short calls are repeated
_TURN_WITHOUT_WARM_UP = 1.5  # seconds; a turn of a longer call has no warm-up
_ENOUGH_SECONDS = 5.0
_PAUSE_SECONDS = 0.01  # before each turn, so that the busy-waiting threads of the last one go to sleep
_MATRIX = {"cpu": 2048, "other": 8192}
_COPY_BYTES = 2**28  # much larger than the caches


def interleave(contenders: Mapping[str, Callable[[int], None]], repeat: int) -> dict[str, float]:
  """Seconds per call of each contender: the median over `repeat` turns, in alternating order.

  A contender that has taken three turns and several seconds is left out of further turns, because a slow one is
  measured well enough.

  Args:
    contenders: functions that make a given number of calls and wait for them, as from `contender`. They are compiled
      and have been called before.
    repeat: the number of turns.

  Returns:
    The seconds by name.

  >>> seconds = interleave({"fast": lambda calls: time.sleep(0), "slow": lambda calls: time.sleep(0.001 * calls)}, 1)
  >>> seconds["fast"] < seconds["slow"]
  True
  """
  times = {name: [] for name in contenders}
  first = {name: _seconds(run, 1) for name, run in contenders.items()}
  calls = {name: max(1, min(1000, math.ceil(_TURN_SECONDS / seconds))) for name, seconds in first.items()}
  for turn in range(repeat):
    for name in list(contenders)[:: 1 if turn % 2 == 0 else -1]:
      if turn >= 3 and calls[name] * sum(times[name]) > _ENOUGH_SECONDS:
        continue
      time.sleep(_PAUSE_SECONDS)
      if first[name] < _TURN_WITHOUT_WARM_UP:
        contenders[name](1)  # warm-up of threads, caches and memory pages
      times[name].append(_seconds(contenders[name], calls[name]) / calls[name])
  return {name: statistics.median(values) for name, values in times.items()}


def check_settings(dtype: str, repeat: int) -> None:
  """Raises UserError for a dtype that is not in `DTYPES` and for a number of turns below 1."""
  check_name("dtype", dtype, DTYPES)
  if repeat < 1:
    raise UserError(f"repeat={repeat} must be at least 1")


def print_progress(line: str) -> None:
  """Prints a line to standard error, where it does not mix with a table or JSON on standard output."""
  print(line, file=sys.stderr, flush=True)


def _seconds(run, calls):
  start = time.perf_counter()
  run(calls)
  return time.perf_counter() - start


def contender(function: Callable[[], object], wait: Callable[[object], object]) -> Callable[[int], None]:
  """A contender for `interleave`.

  On a GPU all calls are queued before the wait, as in a program; on a CPU each call is waited for.

  Args:
    function: the call to measure.
    wait: waits for the result of a call.
  """
  one_by_one = jax.default_backend() == "cpu"

  def run(calls):
    for _ in range(calls):
      result = function()
      if one_by_one:
        wait(result)
    wait(result)

  return run


def geometric_mean(values: Sequence[float]) -> float:
  """The geometric mean, which for ratios does not depend on which side is the numerator.

  >>> geometric_mean([2, 0.5])
  1.0
  """
  return math.exp(statistics.fmean(map(math.log, values)))


def machine_facts(torch: Torch | None) -> dict[str, object]:
  """Processor, number of cores that this process may use, device, and the versions of the libraries measured."""
  device = jax.devices()[0]
  versions = {"python": platform.python_version(), "jax": jax.__version__, "flax": flax.__version__}
  return {
    "processor": _processor(),
    "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
    "device": device.platform if device.platform == "cpu" else device.device_kind,
    "versions": versions | ({"torch": torch.version} if torch else {}),
  }


def _processor():
  try:
    with open("/proc/cpuinfo") as file:
      names = [line.split(":", 1)[1].strip() for line in file if line.startswith("model name")]
  except OSError:
    names = []
  return names[0] if names else platform.processor() or platform.machine()


class Peak:
  """The best rates of the machine seen so far.

  Args:
    torch: PyTorch, or None to leave it out.
    dtype: of the matrix product.

  Attributes:
    gflops: of a large matrix product, for "jax" and, if given, "torch".
    copy: gigabytes per second, read and written, of a large copy, likewise.
  """

  def __init__(self, torch: Torch | None, dtype: str):
    size = _MATRIX.get(jax.default_backend(), _MATRIX["other"])
    a = jnp.ones((size, size), dtype)
    product = functools.partial(jax.jit(jnp.dot), a, a)
    source, target = (jnp.ones(_COPY_BYTES // 4, jnp.float32) for _ in range(2))
    # Times 1.5, or the compiler would call a single-threaded memory copy. The result goes into the donated target.
    multiply = jax.jit(lambda _, source: source * 1.5, donate_argnums=0, keep_unused=True)

    def copy():
      nonlocal target
      target = multiply(target, source)
      return target

    self._products = {"jax": contender(product, jax.block_until_ready)}
    self._copies = {"jax": contender(copy, jax.block_until_ready)}
    if torch:
      self._products["torch"] = contender(torch.matrix_product(size, dtype), torch.wait)
      self._copies["torch"] = contender(torch.copy(_COPY_BYTES), torch.wait)
    self._work = {"gflops": 2e-9 * size**3, "copy": 2e-9 * _COPY_BYTES}
    self.gflops, self.copy = (dict.fromkeys(self._products, 0.0) for _ in range(2))

  def measure(self, times: int) -> None:
    """Measures both rates several times and keeps the best. The first time compiles."""
    for contenders, best, work in (
      (self._products, self.gflops, self._work["gflops"]),
      (self._copies, self.copy, self._work["copy"]),
    ):
      for _ in range(times):
        for name, run in contenders.items():
          best[name] = max(best[name], work / _seconds(run, 1))

"""How fast things are here: contenders that take turns, the machine's best rates, and what the machine is."""

import functools
import math
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence

import flax
import jax
import jax.numpy as jnp

from cnn_zoo.benchmarks.pytorch import Torch

_TURN_SECONDS = 0.01  # what a turn lasts at least; short calls are repeated
_TURN_WITHOUT_WARM_UP = 1.5  # seconds of a call from which a turn is that call alone
_ENOUGH_SECONDS = 5.0
_PAUSE_SECONDS = 0.01  # before each turn, in which the last one's threads, which wait in a busy loop, go to sleep
_MATRIX = {"cpu": 2048, "other": 8192}
_COPY_BYTES = 2**28  # many times the caches


def interleave(contenders: Mapping[str, Callable[[int], None]], repeat: int) -> dict[str, float]:
  """Seconds per call of each contender: the median over `repeat` turns, which they take in changing order.

  A contender is a function that makes so many calls and waits for them. Calls have been made before. Whoever has taken
  three turns and several seconds is left out of the others: a slow one is measured well enough and holds up all.
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
        contenders[name](1)  # wakes threads and caches and has its memory mapped, as in a program that goes on
      times[name].append(_seconds(contenders[name], calls[name]) / calls[name])
  return {name: statistics.median(values) for name, values in times.items()}


def _seconds(run, calls):
  start = time.perf_counter()
  run(calls)
  return time.perf_counter() - start


def contender(function: Callable[[], object], wait: Callable[[object], object]) -> Callable[[int], None]:
  """`function` as `interleave` takes it. A GPU gets all calls before the wait, as in a program; a CPU one by one."""
  one_by_one = jax.default_backend() == "cpu"

  def run(calls):
    for _ in range(calls):
      result = function()
      if one_by_one:
        wait(result)
    wait(result)

  return run


def geometric_mean(values: Sequence[float]) -> float:
  """exp of the mean logarithm: the mean of ratios that does not depend on which side is the numerator."""
  return math.exp(statistics.fmean(map(math.log, values)))


def machine_facts(torch: Torch | None) -> dict[str, object]:
  """Processor, cores that this process may use, device and the versions of what was measured."""
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
  """What the machine can do at best, the more often it is measured the surer.

  Attributes:
    gflops: of a large matrix product, for "jax" and, if there, "torch".
    copy: gigabytes a second, read and written, of a large copy, for the same.
  """

  def __init__(self, torch: Torch | None, dtype: str):
    size = _MATRIX.get(jax.default_backend(), _MATRIX["other"])
    a = jnp.ones((size, size), dtype)
    product = functools.partial(jax.jit(jnp.dot), a, a)
    source, target = (jnp.ones(_COPY_BYTES // 4, jnp.float32) for _ in range(2))
    # A product with 1.5, which no compiler makes a call of a single-threaded memory copy of, into the donated target.
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
    """Measures both and keeps the best. The very first time compiles."""
    for contenders, best, work in (
      (self._products, self.gflops, self._work["gflops"]),
      (self._copies, self.copy, self._work["copy"]),
    ):
      for _ in range(times):
        for name, run in contenders.items():
          best[name] = max(best[name], work / _seconds(run, 1))

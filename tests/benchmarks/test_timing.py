"""How contenders take turns, and the description of the machine."""

import pytest

from cnn_zoo.benchmarks import timing


def test_contenders_take_turns(monkeypatch):
  """In changing order, at least so long a turn, and the median of the turns counts."""
  now, log = [0.0], []
  durations = {"fast": [0.004] * 99, "slow": [1.0, 2.0, 7.0, 3.0, 9.0]}

  def make(name):
    def run(calls):
      log.append((name, calls))
      now[0] += sum(durations[name].pop(0) for _ in range(calls))

    return run

  monkeypatch.setattr(timing.time, "perf_counter", lambda: now[0])
  monkeypatch.setattr(timing.time, "sleep", lambda seconds: None)
  monkeypatch.setattr(timing, "_TURN_SECONDS", 0.01)
  monkeypatch.setattr(timing, "_TURN_WITHOUT_WARM_UP", 0.5)
  monkeypatch.setattr(timing, "_ENOUGH_SECONDS", 11.0)
  seconds = timing.interleave({"fast": make("fast"), "slow": make("slow")}, 5)
  fast, slow = [("fast", 1), ("fast", 3)], [("slow", 1)]  # a call before the three that count
  assert log == [("fast", 1), *slow, *fast, *slow, *slow, *fast, *fast, *slow, *fast, *fast]  # slow: 2 + 7 + 3 > 11
  assert seconds == {"fast": pytest.approx(0.004), "slow": 3.0}


def test_a_cpu_waits_for_every_call(monkeypatch):
  log = []
  for backend, expected in (("cpu", "cwcww"), ("gpu", "ccw")):
    log.clear()
    monkeypatch.setattr(timing.jax, "default_backend", lambda backend=backend: backend)
    timing.contender(lambda: log.append("c"), lambda result: log.append("w"))(2)
    assert "".join(log) == expected


def test_geometric_mean():
  assert timing.geometric_mean([2, 8]) == pytest.approx(4)
  assert timing.geometric_mean([0.1, 10, 1]) == pytest.approx(1)

"""Reports from seconds, computed by hand."""

import math

import pytest

from cnn_zoo.benchmarks.report import convolution_report, format_number
from cnn_zoo.benchmarks.shapes import Shape


def test_report():
  """GFLOP/s, shares, ratios and means from seconds, by hand."""
  one, two = (Shape("one", (10,), (10, 10), (1,), batch=1), Shape("two", (10,), (10, 10), (1,), batch=2))
  assert (one.multiply_adds, two.multiply_adds) == (1000, 2000)
  forward = {"lax": 4e-6, "ours": 2e-6, "torch": 8e-6, "torch nhwc": 1e-6}
  both = {"lax": 12e-6, "ours": 6e-6}
  rows = [
    ("a", one, {"forward": forward, "forward_backward": both}),
    ("b", two, {"forward": {"lax": 8e-6, "ours": 1e-6}, "forward_backward": both}),
  ]
  report = convolution_report(rows, {"dtype": "float32"}, {"gflops": {"jax": 2.0, "torch": 4.0}})
  first, second = report["shapes"]
  assert first["forward"]["ours"] == pytest.approx({"milliseconds": 2e-3, "gflops": 1.0, "share_of_peak": 0.25})
  assert first["forward_backward"]["ours"]["gflops"] == pytest.approx(3 * 2e-6 / 6e-6)
  assert second["forward"]["ours"]["gflops"] == pytest.approx(4)
  assert first["forward"]["ours_over_torch"] == pytest.approx(4)
  assert first["forward"]["ours_over_torch_nhwc"] == pytest.approx(0.5)  # half as fast
  assert first["forward"]["ours_over_lax"] == pytest.approx(2)
  means = report["geometric_means"]
  assert list(means) == ["a", "b", "all"]
  assert means["b"]["forward"] == {"ours_over_lax": pytest.approx(8)}
  assert means["all"]["forward"] == pytest.approx(
    {"ours_over_lax": math.sqrt(2 * 8), "ours_over_torch": 4, "ours_over_torch_nhwc": 0.5}
  )
  assert means["all"]["forward_backward"] == pytest.approx({"ours_over_lax": 2})


def test_numbers():
  assert [format_number(n) for n in (12345.6, 123.4, 12.34, 1.234, 0.1234, 0.01234)] == [
    "12,346",
    "123",
    "12.3",
    "1.23",
    "0.123",
    "0.0123",
  ]

"""Measuring convolutions."""

import json

import pytest

from cnn_zoo.benchmarks import convolutions, timing
from cnn_zoo.benchmarks.report import convolution_table
from cnn_zoo.benchmarks.shapes import GROUPS, Shape
from cnn_zoo.errors import UserError

TINY = {
  "depthwise": [Shape("tiny", (5, 6), (4, 4), (3, 3), stride=2, groups=4, batch=2)],
  "transposed": [Shape("tiny", (7,), (2, 3), (4,), stride=2, transposed=True, batch=1)],
}


@pytest.fixture
def small_peak(monkeypatch):
  monkeypatch.setattr(timing, "_MATRIX", {"other": 32})
  monkeypatch.setattr(timing, "_COPY_BYTES", 4096)


def test_select_shapes():
  assert convolutions.select_shapes() == {group: list(shapes) for group, shapes in GROUPS.items()}
  chosen = convolutions.select_shapes(["2d", "strided"], ["depthwise", "7x7/2"], batch=3)
  assert [shape.name for shape in chosen["strided"]] == [
    "efficientnet_b0 112x112 96-96 3x3/2 depthwise",
    "efficientnet_b0 56x56 144-144 5x5/2 depthwise",
  ]
  assert len(chosen["2d"]) == 5 and {shape.batch for shapes in chosen.values() for shape in shapes} == {3}
  assert list(convolutions.select_shapes(names=["c3d"])) == ["3d"]


@pytest.mark.parametrize("dtype", timing.DTYPES)
def test_convolutions(dtype, small_peak):
  lines = []
  report = convolutions.benchmark_convolutions(TINY, dtype=dtype, repeat=2, progress=lines.append)
  assert json.loads(json.dumps(report))["shapes"][1]["output_shape"] == [1, 14, 3]
  assert {"processor", "cores", "device", "versions"} == set(report["machine"])
  assert set(report["machine"]["versions"]) == {"python", "jax", "flax"}
  assert report["peak"]["gflops"]["jax"] > 0 and report["peak"]["copy_gigabytes_per_second"]["jax"] > 0
  for row in report["shapes"]:
    for kind in ("forward", "forward_backward"):
      entry = row[kind]
      assert set(entry) == {"lax", "ours", "ours_over_lax"} and entry["ours"]["milliseconds"] > 0
      assert entry["ours_over_lax"] == pytest.approx(entry["lax"]["milliseconds"] / entry["ours"]["milliseconds"])
  assert list(report["geometric_means"]) == ["depthwise", "transposed", "all"]
  assert [line.split(":")[0] for line in lines] == [
    "[1/2] tiny 5x6 4-4 3x3/2 depthwise",
    "[2/2] tiny 7 2-3 4/2 transposed",
  ]
  table = convolution_table(report)
  assert "torch ms" not in table and table.count("tiny 5x6 4-4 3x3/2 depthwise") == 2 and "ours/lax" in table
  assert len({len(line) for line in table.splitlines() if "tiny 5x6" in line or line.startswith("convolution")}) <= 2


def test_wrong_values_are_reported(small_peak, monkeypatch):
  def wrong(shape, x, kernel):
    y = right(shape, x, kernel)
    return y * (1.01 if convolutions.LOWERING_OF["ours"] == lowering[-1] else 1)

  right, compile_, lowering = convolutions.convolution, convolutions.compile_with, []

  def noted(how, function, *arguments, **options):
    lowering.append(how)
    return compile_(how, function, *arguments, **options)

  monkeypatch.setattr(convolutions, "convolution", wrong)
  monkeypatch.setattr(convolutions, "compile_with", noted)
  with pytest.raises(ArithmeticError, match=r"tiny 5x6 4-4 3x3/2 depthwise: ours and lax differ in y by 1\.0e-02"):
    convolutions.benchmark_convolutions(TINY, repeat=1, progress=lambda line: None)


@pytest.mark.parametrize(
  ("call", "message"),
  [
    (lambda: convolutions.select_shapes(["4d"]), "group='4d' is not known; did you mean"),
    (
      lambda: convolutions.select_shapes(["1d"], ["c3d"]),
      "shapes='c3d' is in no name of group 1d; networks: m34_res, m5",
    ),
    (lambda: convolutions.select_shapes(batch=0), "batch=0 must be at least 1"),
    (lambda: convolutions.benchmark_convolutions(TINY, dtype="float8"), "dtype='float8' is not known"),
    (lambda: convolutions.benchmark_convolutions(TINY, repeat=0), "repeat=0 must be at least 1"),
  ],
)
def test_mistakes(call, message):
  with pytest.raises(UserError, match=message) as error:
    call()
  assert "\n" not in str(error.value)

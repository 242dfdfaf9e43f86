import concurrent.futures
import importlib.util
import json
import math
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from cnn_zoo.benchmarks import benchmark, pytorch, timing
from cnn_zoo.benchmarks.report import convolution_report, convolution_table, format_number, model_table
from cnn_zoo.benchmarks.shapes import GROUPS, Shape
from cnn_zoo.convolutions import Convolution, TransposedConvolution
from cnn_zoo.errors import UserError
from cnn_zoo.training.optimizers import create_optimizer
from cnn_zoo.training.state import Network
from tests.helpers import ROOT

SCRIPT = ROOT / "scripts" / "benchmark.py"
EVERY_SHAPE = [shape for shapes in GROUPS.values() for shape in shapes]
TINY = {
  "depthwise": [Shape("tiny", (5, 6), (4, 4), (3, 3), stride=2, groups=4, batch=2)],
  "transposed": [Shape("tiny", (7,), (2, 3), (4,), stride=2, transposed=True, batch=1)],
}


def silent(line):
  pass


def test_shapes_are_those_of_the_modules():
  """Kernel, output and multiply-adds, for each shape."""
  for shape in EVERY_SHAPE:
    kind = TransposedConvolution if shape.transposed else Convolution
    options = {"strides": shape.stride, "padding": shape.padding_pairs, "dilation": shape.dilation}
    layer = nnx.eval_shape(
      lambda shape=shape, kind=kind, options=options: kind(
        *shape.channels, shape.kernel_size, groups=shape.groups, **options, rngs=nnx.Rngs(0)
      )
    )
    assert layer.kernel.get_value().shape == shape.kernel_shape, shape.name
    assert layer.output_shape(shape.input_shape) == shape.output_shape, shape.name
    assert layer.multiply_adds(shape.input_shape) == shape.multiply_adds, shape.name


def test_shapes_are_those_of_the_networks():
  names = [shape.name for shape in EVERY_SHAPE]
  assert len(set(names)) == len(names)
  by_name = {shape.name: shape for shape in EVERY_SHAPE}
  stem = by_name["resnet50 224x224 3-64 7x7/2"]
  assert stem.output_shape == (8, 112, 112, 64) and stem.multiply_adds == 8 * 118_013_952
  assert by_name["m5 8000 1-128 80/4"].output_shape == (8, 2000, 128)
  assert by_name["unet 28x28 256-128 2x2/2 transposed"].output_shape == (8, 56, 56, 128)
  assert by_name["fcn 28x28 21-21 16x16/8 transposed"].output_shape == (8, 224, 224, 21)
  assert by_name["resnext50_32x4d 56x56 128-128 3x3 groups=32"].kernel_shape == (3, 3, 4, 128)
  dilated = by_name["van_b1 56x56 64-64 7x7 depthwise dilation=3"]
  assert dilated.padding_pairs == ((9, 9), (9, 9)) and dilated.output_shape == dilated.input_shape


def test_select_shapes():
  assert sum(map(len, benchmark.select_shapes().values())) == len(EVERY_SHAPE)
  chosen = benchmark.select_shapes(["2d", "strided"], ["depthwise", "7x7/2"], batch=3)
  assert [shape.name for shape in chosen["strided"]] == [
    "efficientnet_b0 112x112 96-96 3x3/2 depthwise",
    "efficientnet_b0 56x56 144-144 5x5/2 depthwise",
  ]
  assert len(chosen["2d"]) == 5 and {shape.batch for shapes in chosen.values() for shape in shapes} == {3}
  assert list(benchmark.select_shapes(names=["c3d"])) == ["3d"]


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


@pytest.fixture
def small_peak(monkeypatch):
  monkeypatch.setattr(timing, "_MATRIX", {"other": 32})
  monkeypatch.setattr(timing, "_COPY_BYTES", 4096)


@pytest.mark.parametrize("dtype", benchmark.DTYPES)
def test_convolutions(dtype, small_peak):
  told = []
  report = benchmark.benchmark_convolutions(TINY, dtype=dtype, repeat=2, progress=told.append)
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
  assert [line.split(":")[0] for line in told] == [
    "[1/2] tiny 5x6 4-4 3x3/2 depthwise",
    "[2/2] tiny 7 2-3 4/2 transposed",
  ]
  table = convolution_table(report)
  assert "torch ms" not in table and table.count("tiny 5x6 4-4 3x3/2 depthwise") == 2 and "ours/lax" in table
  assert len({len(line) for line in table.splitlines() if "tiny 5x6" in line or line.startswith("convolution")}) <= 2


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="elsewhere both lowerings are XLA's own convolutions")
def test_each_lowering_is_traced():
  """Also of one and the same function."""
  shape = TINY["depthwise"][0]
  x, kernel = jnp.ones(shape.input_shape), jnp.ones(shape.kernel_shape)

  def function(x, kernel):
    return benchmark.convolution(shape, x, kernel)

  texts = [benchmark._compile(function, how, x, kernel).as_text() for how in ("lax", "auto", "lax")]
  assert ["convolution(" in text for text in texts] == [True, False, True]


def test_wrong_values_are_told(small_peak, monkeypatch):
  def wrong(shape, x, kernel):
    y = right(shape, x, kernel)
    return y * (1.01 if benchmark.LOWERING_OF["ours"] == lowering[-1] else 1)

  right, compile_, lowering = benchmark.convolution, benchmark._compile, []

  def noted(function, how, *arguments, **options):
    lowering.append(how)
    return compile_(function, how, *arguments, **options)

  monkeypatch.setattr(benchmark, "convolution", wrong)
  monkeypatch.setattr(benchmark, "_compile", noted)
  with pytest.raises(ArithmeticError, match=r"tiny 5x6 4-4 3x3/2 depthwise: ours and lax differ in y by 1\.0e-02"):
    benchmark.benchmark_convolutions(TINY, repeat=1, progress=silent)


@pytest.mark.parametrize("groups", [1, 2])
def test_kernels_as_pytorch_has_them(groups):
  """[out, in / groups, ...], and of transposed convolutions [in, out / groups, ...]."""
  rng = np.random.default_rng(0)
  kernel = rng.standard_normal((2, 3, 4 // groups, 6))
  plain = Shape("", (5, 5), (4, 6), (2, 3), groups=groups)
  assert np.array_equal(pytorch.kernel_to_torch(kernel, plain), kernel.transpose(3, 2, 0, 1))
  result = pytorch.kernel_to_torch(kernel, Shape("", (5, 5), (4, 6), (2, 3), groups=groups, transposed=True))
  assert result.shape == (4, 6 // groups, 2, 3)
  for i in range(4):
    for o in range(6 // groups):
      group, row = divmod(i, 4 // groups)
      assert np.array_equal(result[i, o], kernel[:, :, row, group * (6 // groups) + o])


def test_pytorch_is_not_needed(monkeypatch):
  monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
  assert pytorch.find_torch() == (None, "PyTorch is not installed: its columns are left out")
  assert pytorch.import_torchvision.__wrapped__() is None


def test_models(monkeypatch):
  told = []
  report = benchmark.benchmark_models(["lenet5"], batch=2, repeat=2, compare_lax=True, progress=told.append)
  (row,) = json.loads(json.dumps(report))["models"]
  assert (row["model"], row["input_shape"], report["batch"]) == ("lenet5", [2, 32, 32, 1], 2)
  for kind in ("training", "inference"):
    ours = row[kind]["ours"]
    assert set(row[kind]) == {"lax", "ours", "ours_over_lax"}
    assert ours["images_per_second"] == pytest.approx(2e3 / ours["milliseconds"])
    assert ours["compile_seconds"] > 0 and ours["memory_bytes"] > 4 * 61_706  # at least the parameters
    assert report["geometric_means"][kind]["ours_over_lax"] == pytest.approx(row[kind]["ours_over_lax"])
  assert row["training"]["ours"]["memory_bytes"] > row["inference"]["ours"]["memory_bytes"]
  assert told[0] == "[1/1] lenet5: compiling" and "lenet5: training, images/s: lax" in told[1]
  line = next(line for line in model_table(report).splitlines() if "training" in line)
  assert line.split()[:3] == ["lenet5", "32x32x1", "training"]


class TwoHeads(nnx.Module):
  """Auxiliary logits in training, as GoogLeNet."""

  def __init__(self):
    self.weight = nnx.Param(jnp.ones((3, 4)))
    self.mean = nnx.BatchStat(jnp.zeros(3))

  def __call__(self, x):
    self.mean.set_value(x.mean(0))
    return x @ self.weight[...], (x @ -self.weight[...],)


def test_training_step():
  """Loss with auxiliary heads, statistics and momentum, one step after another."""
  network = Network(TwoHeads())
  optimizer = create_optimizer(benchmark._OPTIMIZER, 0.1)
  step = jax.jit(benchmark._training_step(network, optimizer))
  x, labels = jax.random.normal(jax.random.key(0), (5, 3)), jnp.array([0, 1, 2, 3, 0])
  state = (network.params, network.batch_stats, optimizer.init(network.params), 0)
  losses = []
  for _ in range(3):
    state, loss = step(state, x, labels)
    losses.append(float(loss))
  assert losses[0] == pytest.approx(1.3 * math.log(4))  # all logits of an example are equal
  assert losses[2] < losses[1] < losses[0] and state[3] == 3
  assert np.allclose(state[1]["mean"], x.mean(0))


@pytest.mark.parametrize(
  ("call", "message"),
  [
    (lambda: benchmark.select_shapes(["4d"]), "group='4d' is not known; did you mean"),
    (lambda: benchmark.select_shapes(["1d"], ["c3d"]), "shapes='c3d' is in no name of group 1d; networks: m34_res, m5"),
    (lambda: benchmark.select_shapes(batch=0), "batch=0 must be at least 1"),
    (lambda: benchmark.benchmark_convolutions(TINY, dtype="float8"), "dtype='float8' is not known"),
    (lambda: benchmark.benchmark_convolutions(TINY, repeat=0), "repeat=0 must be at least 1"),
    (lambda: benchmark.benchmark_models(["lenet6"]), "model='lenet6' is not known; did you mean lenet5"),
    (lambda: benchmark.benchmark_models(["lenet5"], batch=0), "batch=0 must be at least 1"),
    (lambda: benchmark.benchmark_models(["lenet5"], size=0), "size=0 must be at least 1"),
    (lambda: benchmark.benchmark_models(["lenet5"], size=9), "model lenet5 does not take an input of 9x9x1: input"),
  ],
)
def test_mistakes(call, message):
  with pytest.raises(UserError, match=message) as error:
    call()
  assert "\n" not in str(error.value)


def test_script():
  """As a person types it: a measurement, then mistakes, each one line and exit code 2."""
  cases = {
    "convolutions --group=1d --shapes=384 --batch=1 --repeat=1 --json": "",
    "convolutions --model=lenet5": "error: --model belongs to the command 'models'",
    "convolution": "error: command='convolution' is not known; did you mean convolutions?",
    "models": "error: give a model, --model=NAME; valid: ",
    "models --model=lenet5 --group=2d": "error: --group belongs to the command 'convolutions'",
  }

  def run(typed):
    return subprocess.run([sys.executable, str(SCRIPT), *typed.split()], capture_output=True, text=True)

  with concurrent.futures.ThreadPoolExecutor(2) as pool:
    (measured, _), *mistakes = zip(pool.map(run, cases), cases.values(), strict=True)
  assert measured.returncode == 0, measured.stderr
  report = json.loads(measured.stdout)
  assert [row["name"] for row in report["shapes"]] == ["m34_res 7 384-384 3"]
  assert report["shapes"][0]["forward"]["ours"]["gflops"] > 0 and "[1/1] m34_res 7 384-384 3: " in measured.stderr
  for result, says in mistakes:
    assert result.returncode == 2 and result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith(says)

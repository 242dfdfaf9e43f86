"""How fast convolutions and models are here, beside XLA's own convolutions ("lax") and, where installed, PyTorch.

All contenders take turns within one run, so that whatever else the machine does hits them alike; of each the median
counts. Ratios such as ours/torch are of speeds: above 1, ours is faster.
"""

import dataclasses
import functools
import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from ml_collections import ConfigDict

from cnn_zoo.benchmarks.pytorch import Torch, kernel_to_torch
from cnn_zoo.benchmarks.report import compared, convolution_report, format_number, mean_ratios
from cnn_zoo.benchmarks.shapes import GROUPS, Shape
from cnn_zoo.benchmarks.timing import Peak, contender, interleave, machine_facts
from cnn_zoo.convolutions import lowering
from cnn_zoo.convolutions.lowerings.rules import convolve, convolve_transposed
from cnn_zoo.convolutions.lowerings.windows import Geometry
from cnn_zoo.describe.summary import describe
from cnn_zoo.errors import UserError, check_name
from cnn_zoo.layers.noise import set_noise
from cnn_zoo.models import abstract_model, create_model, published_setting
from cnn_zoo.training.optimizers import create_optimizer
from cnn_zoo.training.state import Network

DTYPES = ("float32", "bfloat16")
LOWERING_OF = {"lax": "lax", "ours": "auto"}

_OPTIMIZER = ConfigDict({"name": "sgd", "momentum": 0.9, "weight_decay": 0.0, "clip_norm": 0.0})


def _progress(line):
  print(line, file=sys.stderr, flush=True)


def select_shapes(
  groups: Sequence[str] = (), names: Sequence[str] = (), batch: int | None = None
) -> dict[str, list[Shape]]:
  """The shapes of `GROUPS` by group: of these groups, and with one of these texts in their names; empty: all.

  `batch` takes the place of their own.

  Raises:
    UserError: for a group that does not exist, a text that is in no name and a batch below 1.
  """
  if batch is not None and batch < 1:
    raise UserError(f"batch={batch} must be at least 1")
  for group in groups:
    check_name("group", group, GROUPS)
  chosen = {group: list(shapes) for group, shapes in GROUPS.items() if group in groups or not groups}
  for text in names:
    if not any(text in shape.name for shapes in chosen.values() for shape in shapes):
      networks = sorted({shape.network for shapes in chosen.values() for shape in shapes})
      raise UserError(f"shapes={text!r} is in no name of group {', '.join(chosen)}; networks: {', '.join(networks)}")
  found = {g: [s for s in shapes if not names or any(n in s.name for n in names)] for g, shapes in chosen.items()}
  return {
    group: [shape if batch is None else dataclasses.replace(shape, batch=batch) for shape in shapes]
    for group, shapes in found.items()
    if shapes
  }


def benchmark_convolutions(
  shapes: Mapping[str, Sequence[Shape]],
  *,
  dtype: str = "float32",
  repeat: int = 10,
  torch: Torch | None = None,
  progress: Callable[[str], None] = _progress,
) -> dict[str, object]:
  """Measures convolutions, forward and forward with both gradients; `shapes` by group.

  Returns:
    what `convolution_report` does.

  Raises:
    UserError: for another dtype or a number of repetitions below 1.
    ArithmeticError: if contenders do not compute the same.
  """
  _check_settings(dtype, repeat)
  peak = Peak(torch, dtype)
  peak.measure(5)
  rows, total = [], sum(map(len, shapes.values()))
  for group, members in shapes.items():
    for shape in members:
      seconds = _measure_convolution(shape, dtype, repeat, torch)
      rows.append((group, shape, seconds))
      peak.measure(1)
      told = {name: " ".join(f"{who} {format_number(1e3 * t)}" for who, t in s.items()) for name, s in seconds.items()}
      progress(f"[{len(rows)}/{total}] {shape.name}: " + "; ".join(f"{name} {s} ms" for name, s in told.items()))
  settings = {"dtype": dtype, "repeat": repeat, "machine": machine_facts(torch)}
  return convolution_report(rows, settings, {"gflops": peak.gflops, "copy_gigabytes_per_second": peak.copy})


def _check_settings(dtype, repeat):
  check_name("dtype", dtype, DTYPES)
  if repeat < 1:
    raise UserError(f"repeat={repeat} must be at least 1")


def _measure_convolution(shape, dtype, repeat, torch):
  """Seconds by pass and contender."""
  rng = np.random.default_rng(0)
  x, kernel, g = (
    rng.standard_normal(size, np.float32) for size in (shape.input_shape, shape.kernel_shape, shape.output_shape)
  )
  passes = {"forward": {}, "forward_backward": {}}
  arrays = [jnp.asarray(a, dtype) for a in (x, kernel, g)]
  results = {}
  forward = functools.partial(convolution, shape)

  def train(x, kernel, g):
    y, pull = jax.vjp(forward, x, kernel)
    return y, *pull(g)

  for who, how in LOWERING_OF.items():
    inference = functools.partial(_compile(forward, how, *arrays[:2]), *arrays[:2])
    training = functools.partial(_compile(train, how, *arrays), *arrays)
    results[who] = [np.asarray(r, np.float32) for r in (inference(), *training())]
    passes["forward"][who] = contender(inference, jax.block_until_ready)
    passes["forward_backward"][who] = contender(training, jax.block_until_ready)
  if torch:
    expected = _as_torch(results["lax"], shape)
    for who, (inference, training) in torch.convolutions(shape, x, kernel, g, dtype).items():
      _check_same(shape, who, [torch.to_numpy(r) for r in (inference(), *training())], expected, dtype)
      passes["forward"][who] = contender(inference, torch.wait)
      passes["forward_backward"][who] = contender(training, torch.wait)
  _check_same(shape, "ours", results["ours"], results["lax"], dtype)
  return {name: interleave(contenders, repeat) for name, contenders in passes.items()}


def convolution(shape: Shape, x: jax.Array, kernel: jax.Array) -> jax.Array:
  """The convolution that `shape` describes, in the lowering of the context."""
  axes = len(shape.sizes)
  execute = convolve_transposed if shape.transposed else convolve
  geometry = Geometry((shape.stride,) * axes, tuple(shape.padding_pairs), (shape.dilation,) * axes, shape.groups)
  return execute(x, kernel, geometry)


def _compile(function, how, *arguments, donate=()):
  def anew(*arguments):  # a function of its own, or jit would find the trace of another lowering
    return function(*arguments)

  with lowering(how):
    return jax.jit(anew, donate_argnums=donate).lower(*arguments).compile()


def _as_torch(results, shape):
  *batches, gradient = results
  return [*(np.moveaxis(r, -1, 1) for r in batches), kernel_to_torch(gradient, shape)]


def _check_same(shape, who, results, expected, dtype):
  """A contender that computes something else is no contender. GPUs round float32 factors to 10 bits (TF32)."""
  tolerance = 0.1 if dtype == "bfloat16" else 1e-3 if jax.default_backend() == "cpu" else 2e-2
  for what, result, right in zip(("y", "y", "the gradient by x", "by the kernel"), results, expected, strict=True):
    error = np.abs(result - right).max() / np.abs(right).max() if result.shape == right.shape else math.inf
    if not error <= tolerance:
      raise ArithmeticError(f"{shape.name}: {who} and lax differ in {what} by {error:.1e} of the largest value")


def benchmark_models(
  names: Sequence[str],
  *,
  batch: int = 8,
  size: int | None = None,
  dtype: str = "float32",
  repeat: int = 10,
  compare_lax: bool = False,
  torch: Torch | None = None,
  progress: Callable[[str], None] = _progress,
) -> dict[str, object]:
  """Measures training steps and inference of models on random inputs.

  A training step is forward, backward, batch statistics, and SGD with Nesterov momentum; the loss is cross-entropy.

  Args:
    names: of `list_models()`.
    batch: how many examples.
    size: of every spatial axis of the input; None: what the model was published for.
    dtype: what is computed in.
    repeat: how many turns each contender takes.
    compare_lax: whether to measure XLA's own convolutions too.
    torch: PyTorch, for models that torchvision has.
    progress: takes a line after each step of the work.

  Returns:
    dtype, repeat, batch, machine, `models` (a row each; for "training" and "inference" and each contender milliseconds
    and images_per_second, for ours and lax also compile_seconds and memory_bytes, which arguments, results and
    temporaries of the program take together, and the ratios) and `geometric_means` of the ratios.

  Raises:
    UserError: for a model that does not exist or does not take that input, and for settings out of range.
  """
  _check_settings(dtype, repeat)
  for field, value in (("batch", batch), ("size", size)):
    if value is not None and value < 1:
      raise UserError(f"{field}={value} must be at least 1")
  shapes = {name: _input_shape(name, size) for name in dict.fromkeys(names)}  # mistakes are told before the long work
  rows = []
  for name, shape in shapes.items():
    progress(f"[{len(rows) + 1}/{len(shapes)}] {name}: compiling")
    row = {"model": name, "input_shape": (batch, *shape)}
    seconds, costs = _measure_model(name, (batch, *shape), dtype, repeat, compare_lax, torch)
    for kind, times in seconds.items():
      row[kind] = compared(times, lambda t: {"milliseconds": 1e3 * t, "images_per_second": batch / t})
      for who, cost in costs[kind].items():
        row[kind][who] |= cost
      told = ", ".join(f"{who} {format_number(batch / t)}" for who, t in times.items())
      progress(f"[{len(rows) + 1}/{len(shapes)}] {name}: {kind}, images/s: {told}")
    rows.append(row)
  settings = {"dtype": dtype, "repeat": repeat, "batch": batch, "machine": machine_facts(torch)}
  return {**settings, "models": rows, "geometric_means": mean_ratios(rows, ("training", "inference"))}


def _input_shape(name, size):
  shape = published_setting(name).input_shape
  if size is not None:
    shape = (*[size] * (len(shape) - 1), shape[-1])
  try:
    describe(abstract_model(name, in_channels=shape[-1]), shape)
  except UserError as error:
    raise UserError(f"model {name} does not take an input of {'x'.join(map(str, shape))}: {error}") from None
  return shape


def _measure_model(name, shape, dtype, repeat, compare_lax, torch):
  """Seconds, and what compiling costs, by kind of step and contender."""
  num_classes = published_setting(name).num_classes
  network = Network(
    create_model(name, num_classes=num_classes, in_channels=shape[-1], dtype=jnp.dtype(dtype), rngs=nnx.Rngs(0))
  )
  optimizer = create_optimizer(_OPTIMIZER, 1e-3)
  train, infer = _training_step(network, optimizer), _inference(network)
  rng = np.random.default_rng(0)
  x = rng.standard_normal(shape, np.float32)
  logits = jax.eval_shape(infer, network.params, network.batch_stats, x)
  labels = rng.integers(0, num_classes, logits.shape[:-1])
  batch = jnp.asarray(x), jnp.asarray(labels, jnp.int32)
  contenders, costs = {"training": {}, "inference": {}}, {"training": {}, "inference": {}}
  for who in [*["lax"] * compare_lax, "ours"]:
    arrays = jax.tree.map(jnp.array, (network.params, network.batch_stats))  # its own, because they are donated
    state = (*arrays, optimizer.init(arrays[0]), jnp.zeros((), jnp.int32))
    program, costs["training"][who] = _compile_and_count(train, LOWERING_OF[who], state, *batch, donate=0)
    contenders["training"][who] = contender(_stepping(program, state, batch), jax.block_until_ready)
    arguments = (network.params, network.batch_stats, batch[0])
    program, costs["inference"][who] = _compile_and_count(infer, LOWERING_OF[who], *arguments)
    contenders["inference"][who] = contender(functools.partial(program, *arguments), jax.block_until_ready)
  models = torch.models(name, x, labels, num_classes, dtype) if torch else None
  for who, (inference, step) in (models or {}).items():
    contenders["inference"][who] = contender(inference, torch.wait)
    contenders["training"][who] = contender(step, torch.wait)
  for kind in contenders.values():
    for run in kind.values():
      run(1)
  return {kind: interleave(by_name, repeat) for kind, by_name in contenders.items()}, costs


def _training_step(network, optimizer):
  def step(state, x, labels):
    params, batch_stats, optimizer_state, number = state

    def loss(params):
      module = network.module(params, batch_stats)
      set_noise(module, jax.random.fold_in(jax.random.key(0), number))
      outputs = module(x)
      logits, auxiliary = outputs if isinstance(outputs, tuple) else (outputs, ())
      total = _cross_entropy(logits, labels) + 0.3 * sum(_cross_entropy(a, labels) for a in auxiliary)
      return total, nnx.to_pure_dict(nnx.state(module, nnx.BatchStat))

    (value, statistics_), grads = jax.value_and_grad(loss, has_aux=True)(params)
    updates, optimizer_state = optimizer.update(grads, optimizer_state, params)
    return (optax.apply_updates(params, updates), statistics_, optimizer_state, number + 1), value

  return step


def _cross_entropy(logits, labels):
  return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


def _inference(network):
  def infer(params, batch_stats, x):
    module = network.module(params, batch_stats)
    module.eval()
    return module(x)

  return infer


def _stepping(program, state, batch):
  """A function that makes one training step after another."""

  def step():
    nonlocal state
    state, loss = program(state, *batch)
    return state, loss

  return step


def _compile_and_count(function, how, *arguments, donate=()):
  """The program, and the seconds and bytes that it costs."""
  start = time.perf_counter()
  program = _compile(function, how, *arguments, donate=donate)
  seconds, sizes = time.perf_counter() - start, program.memory_analysis()
  held = sizes.argument_size_in_bytes + sizes.output_size_in_bytes - sizes.alias_size_in_bytes
  return program, {"compile_seconds": seconds, "memory_bytes": held + sizes.temp_size_in_bytes}

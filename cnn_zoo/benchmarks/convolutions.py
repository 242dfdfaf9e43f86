"""The speed of convolutions here, in XLA ("lax") and, where it is installed, in PyTorch.

All contenders take turns within one run, so that whatever else the machine does affects all of them, and the median of
each counts. Ratios such as ours/torch are of speeds: above 1, ours is faster.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from cnn_zoo.benchmarks.compilation import LOWERING_OF, compile_with
from cnn_zoo.benchmarks.pytorch import Torch, kernel_to_torch
from cnn_zoo.benchmarks.report import convolution_report, format_number
from cnn_zoo.benchmarks.shapes import GROUPS, Shape
from cnn_zoo.benchmarks.timing import Peak, check_settings, contender, interleave, machine_facts, print_progress
from cnn_zoo.convolutions.lowerings.rules import convolve, convolve_transposed
from cnn_zoo.convolutions.lowerings.windows import Geometry
from cnn_zoo.errors import UserError, check_name


def select_shapes(
  groups: Sequence[str] = (), names: Sequence[str] = (), batch: int | None = None
) -> dict[str, list[Shape]]:
  """Chooses from the shapes of `GROUPS`.

  Args:
    groups: the groups to choose from. Empty for all.
    names: a shape is chosen if its name contains one of these texts. Empty for all.
    batch: a batch size instead of the shapes' own.

  Returns:
    The chosen shapes by group.

  Raises:
    UserError: for a group that does not exist, a text that is in no name and a batch below 1.

  >>> [shape.name for shape in select_shapes(["3d"], ["56x56"], batch=1)["3d"]]
  ['c3d 16x56x56 64-128 3x3x3']
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
  progress: Callable[[str], None] = print_progress,
) -> dict[str, object]:
  """Measures convolutions: the forward pass, and the forward pass with both gradients.

  Args:
    shapes: the convolutions by group, as from `select_shapes`.
    dtype: of the computation, one of `DTYPES`.
    repeat: the number of turns of each contender.
    torch: PyTorch, or None to leave it out.
    progress: called with a line after each convolution.

  Returns:
    The report of `convolution_report`.

  Raises:
    UserError: for another dtype or a number of turns below 1.
    ArithmeticError: if contenders compute different values.

  Example:
    >>> shapes = select_shapes(["3d"], ["56x56"], batch=1)
    >>> report = benchmark_convolutions(shapes, repeat=1)  # doctest: +SKIP
    >>> sorted(report)  # doctest: +SKIP
    ['dtype', 'geometric_means', 'machine', 'peak', 'repeat', 'shapes']
  """
  check_settings(dtype, repeat)
  peak = Peak(torch, dtype)
  peak.measure(5)
  rows, total = [], sum(map(len, shapes.values()))
  for group, members in shapes.items():
    for shape in members:
      seconds = _measure_convolution(shape, dtype, repeat, torch)
      rows.append((group, shape, seconds))
      peak.measure(1)
      lines = {name: " ".join(f"{who} {format_number(1e3 * t)}" for who, t in s.items()) for name, s in seconds.items()}
      progress(f"[{len(rows)}/{total}] {shape.name}: " + "; ".join(f"{name} {s} ms" for name, s in lines.items()))
  settings = {"dtype": dtype, "repeat": repeat, "machine": machine_facts(torch)}
  return convolution_report(rows, settings, {"gflops": peak.gflops, "copy_gigabytes_per_second": peak.copy})


def _measure_convolution(shape, dtype, repeat, torch):
  """Seconds of each contender, by pass."""
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
    inference = functools.partial(compile_with(how, forward, *arrays[:2]), *arrays[:2])
    training = functools.partial(compile_with(how, train, *arrays), *arrays)
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
  """The convolution that `shape` describes, in the current lowering."""
  axes = len(shape.sizes)
  execute = convolve_transposed if shape.transposed else convolve
  geometry = Geometry((shape.stride,) * axes, tuple(shape.padding_pairs), (shape.dilation,) * axes, shape.groups)
  return execute(x, kernel, geometry)


def _as_torch(results, shape):
  *batches, gradient = results
  return [*(np.moveaxis(r, -1, 1) for r in batches), kernel_to_torch(gradient, shape)]


def _check_same(shape, who, results, expected, dtype):
  """Refuses a contender with other values. GPUs round float32 factors to 10 bits (TF32)."""
  tolerance = 0.1 if dtype == "bfloat16" else 1e-3 if jax.default_backend() == "cpu" else 2e-2
  for what, result, right in zip(("y", "y", "the gradient by x", "by the kernel"), results, expected, strict=True):
    error = np.abs(result - right).max() / np.abs(right).max() if result.shape == right.shape else math.inf
    if not error <= tolerance:
      raise ArithmeticError(f"{shape.name}: {who} and lax differ in {what} by {error:.1e} of the largest value")

"""The speed of training steps and inference of whole models here, in XLA ("lax") and, where installed, in PyTorch."""

import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from ml_collections import ConfigDict

from cnn_zoo.benchmarks.compilation import LOWERING_OF, compile_and_count
from cnn_zoo.benchmarks.pytorch import Torch
from cnn_zoo.benchmarks.report import compared, format_number, mean_ratios
from cnn_zoo.benchmarks.timing import check_settings, contender, interleave, machine_facts, print_progress
from cnn_zoo.describe.summary import describe
from cnn_zoo.errors import UserError
from cnn_zoo.layers.noise import set_noise
from cnn_zoo.models import abstract_model, create_model, published_setting
from cnn_zoo.training.network import Network
from cnn_zoo.training.optimizers import create_optimizer

OPTIMIZER = ConfigDict({"name": "sgd", "momentum": 0.9, "weight_decay": 0.0, "clip_norm": 0.0})


def benchmark_models(
  names: Sequence[str],
  *,
  batch: int = 8,
  size: int | None = None,
  dtype: str = "float32",
  repeat: int = 10,
  compare_lax: bool = False,
  torch: Torch | None = None,
  progress: Callable[[str], None] = print_progress,
) -> dict[str, object]:
  """Measures training steps and inference of models on random inputs.

  A training step is forward, backward, batch statistics, and SGD with Nesterov momentum. The loss is cross-entropy.

  Args:
    names: models of `list_models()`.
    batch: the number of examples.
    size: of every spatial axis of the input. None for the size that the model was published for.
    dtype: of the computation, one of `DTYPES`.
    repeat: the number of turns of each contender.
    compare_lax: whether to measure XLA's own convolutions too.
    torch: PyTorch, for models that torchvision has. None to leave it out.
    progress: called with a line after each step of the work.

  Returns:
    A tree of plain values with dtype, repeat, batch, machine, `models` and `geometric_means` of the ratios. A row of
    `models` has, for "training" and "inference", the ratios and for each contender milliseconds and images_per_second.
    Ours and lax also have compile_seconds and memory_bytes (arguments, results and temporaries of the program).

  Raises:
    UserError: for a model that does not exist or does not take that input, and for settings out of range.

  Example:
    >>> report = benchmark_models(["lenet5"], batch=64, repeat=3, compare_lax=True)  # doctest: +SKIP
    >>> sorted(report)  # doctest: +SKIP
    ['batch', 'dtype', 'geometric_means', 'machine', 'models', 'repeat']
  """
  check_settings(dtype, repeat)
  for field, value in (("batch", batch), ("size", size)):
    if value is not None and value < 1:
      raise UserError(f"{field}={value} must be at least 1")
  shapes = {
    name: _input_shape(name, size) for name in dict.fromkeys(names)
  }  # mistakes are reported before the long work
  rows = []
  for name, shape in shapes.items():
    progress(f"[{len(rows) + 1}/{len(shapes)}] {name}: compiling")
    row: dict = {"model": name, "input_shape": (batch, *shape)}
    seconds, costs = _measure_model(name, (batch, *shape), dtype, repeat, compare_lax, torch)
    for kind, times in seconds.items():
      row[kind] = compared(times, lambda t: {"milliseconds": 1e3 * t, "images_per_second": batch / t})
      for who, cost in costs[kind].items():
        row[kind][who] |= cost
      speeds = ", ".join(f"{who} {format_number(batch / t)}" for who, t in times.items())
      progress(f"[{len(rows) + 1}/{len(shapes)}] {name}: {kind}, images/s: {speeds}")
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
  """Seconds, and the cost of compilation, by kind of step and contender."""
  num_classes = published_setting(name).num_classes
  network = Network(
    create_model(name, num_classes=num_classes, in_channels=shape[-1], dtype=jnp.dtype(dtype), rngs=nnx.Rngs(0))
  )
  optimizer = create_optimizer(OPTIMIZER, 1e-3)
  train, infer = training_step(network, optimizer), _inference(network)
  rng = np.random.default_rng(0)
  x = rng.standard_normal(shape, np.float32)
  logits = jax.eval_shape(infer, network.params, network.batch_stats, x)
  labels = rng.integers(0, num_classes, logits.shape[:-1])
  batch = jnp.asarray(x), jnp.asarray(labels, jnp.int32)
  contenders, costs = {"training": {}, "inference": {}}, {"training": {}, "inference": {}}
  for who in [*["lax"] * compare_lax, "ours"]:
    arrays = jax.tree.map(jnp.array, (network.params, network.batch_stats))  # copies, because they are donated
    state = (*arrays, optimizer.init(arrays[0]), jnp.zeros((), jnp.int32))
    program, costs["training"][who] = compile_and_count(LOWERING_OF[who], train, state, *batch, donate=0)
    contenders["training"][who] = contender(_stepping(program, state, batch), jax.block_until_ready)
    arguments = (network.params, network.batch_stats, batch[0])
    program, costs["inference"][who] = compile_and_count(LOWERING_OF[who], infer, *arguments)
    contenders["inference"][who] = contender(functools.partial(program, *arguments), jax.block_until_ready)
  models = torch.models(name, x, labels, num_classes, dtype) if torch else None
  for who, (inference, step) in (models or {}).items():
    contenders["inference"][who] = contender(inference, torch.wait)
    contenders["training"][who] = contender(step, torch.wait)
  for kind in contenders.values():
    for run in kind.values():
      run(1)
  return {kind: interleave(by_name, repeat) for kind, by_name in contenders.items()}, costs


def training_step(network: Network, optimizer: optax.GradientTransformation) -> Callable:
  """A function (state, x, labels) -> (state, loss), where `state` is (params, batch stats, optimizer state, step)."""

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
  """A function that takes one training step after another."""

  def step():
    nonlocal state
    state, loss = program(state, *batch)
    return state, loss

  return step

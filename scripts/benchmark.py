"""Measures speed: `python scripts/benchmark.py convolutions` and `python scripts/benchmark.py models --model=NAME`.

Both are compared with XLA's own convolutions and, where it is installed, PyTorch. docs/benchmarks.md explains the
tables. --json prints all measurements as JSON.
"""

import json
import os
import sys

from absl import flags

os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # PyTorch needs memory of the GPU too

import jax

from cnn_zoo import list_models
from cnn_zoo.benchmarks.convolutions import benchmark_convolutions, select_shapes
from cnn_zoo.benchmarks.models import benchmark_models
from cnn_zoo.benchmarks.pytorch import find_torch
from cnn_zoo.benchmarks.report import convolution_table, model_table
from cnn_zoo.benchmarks.shapes import GROUPS
from cnn_zoo.benchmarks.timing import DTYPES
from cnn_zoo.command_line import run
from cnn_zoo.errors import UserError

_GROUP = flags.DEFINE_list("group", [], f"convolutions: which groups (default all): {', '.join(GROUPS)}.")
_SHAPES = flags.DEFINE_list("shapes", [], "convolutions: only those with one of these texts in their names.")
_MODEL = flags.DEFINE_multi_string("model", [], "models: a model's name; may be repeated.")
_SIZE = flags.DEFINE_integer("size", None, "models: size of the input's spatial axes (default: as published).")
_LAX = flags.DEFINE_bool("lax", False, "models: measure XLA's own convolutions too.")
_BATCH = flags.DEFINE_integer("batch", None, "Number of examples (default: 8; for some large convolutions 1 or 2).")
_DTYPE = flags.DEFINE_string("dtype", "float32", f"Type of the computation: {', '.join(DTYPES)}.")
_REPEAT = flags.DEFINE_integer("repeat", 10, "Number of turns of each contender; the median counts.")
_JSON = flags.DEFINE_bool("json", False, "Print JSON instead of the tables.")

_OF_ONE_COMMAND = {"convolutions": (_GROUP, _SHAPES), "models": (_MODEL, _SIZE, _LAX)}


def convolutions() -> None:
  """Measures convolutions of published networks."""
  _refuse_flags_of("models")
  shapes = select_shapes(_GROUP.value, _SHAPES.value, _BATCH.value)
  torch, why_not = find_torch()
  report = benchmark_convolutions(shapes, dtype=_DTYPE.value, repeat=_REPEAT.value, torch=torch)
  _print(report, convolution_table, why_not)


def models() -> None:
  """Measures training steps and inference of whole models."""
  _refuse_flags_of("convolutions")
  if not _MODEL.value:
    raise UserError(f"give a model, --model=NAME; valid: {', '.join(list_models())}")
  jax.config.update("jax_enable_compilation_cache", False)  # compile times are printed
  torch, why_not = find_torch()
  report = benchmark_models(
    _MODEL.value,
    batch=8 if _BATCH.value is None else _BATCH.value,
    size=_SIZE.value,
    dtype=_DTYPE.value,
    repeat=_REPEAT.value,
    compare_lax=_LAX.value,
    torch=torch,
  )
  _print(report, model_table, why_not)


def _refuse_flags_of(command):
  for flag in _OF_ONE_COMMAND[command]:
    if flag.present:
      raise UserError(f"--{flag.name} belongs to the command {command!r}")


def _print(report, table, why_no_torch):
  if why_no_torch:
    print(why_no_torch, file=sys.stderr)
  print(json.dumps(report, indent=2) if _JSON.value else table(report))


if __name__ == "__main__":
  run({"convolutions": convolutions, "models": models})

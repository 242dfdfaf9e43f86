"""Programs compiled with a given lowering of convolutions."""

import time
from collections.abc import Callable
from typing import Any

import jax

from cnn_zoo.convolutions import lowering

LOWERING_OF = {"lax": "lax", "ours": "auto"}
"""The lowering of each contender."""


def compile_with(how: str, function: Callable, *arguments, donate: int | tuple[int, ...] = ()) -> jax.stages.Compiled:
  """Compiles `function` for these arguments.

  Args:
    how: the lowering of convolutions, "auto" or "lax".
    function: of arrays.
    *arguments: as `function` takes them.
    donate: the numbers of the arguments whose memory the results may take.

  >>> compile_with("lax", lambda x: 2 * x, 3.0)(4.0)
  Array(8., dtype=float32, weak_type=True)

  Returns:
    The compiled program, a function of such arguments.
  """

  def program(*arguments):  # a new function each time, or jit would find the trace of another lowering
    return function(*arguments)

  with lowering(how):
    return jax.jit(program, donate_argnums=donate).lower(*arguments).compile()


def compile_and_count(
  how: str, function: Callable, *arguments, donate: int | tuple[int, ...] = ()
) -> tuple[jax.stages.Compiled, dict[str, float]]:
  """The program of `compile_with`, and its compile_seconds and memory_bytes."""
  start = time.perf_counter()
  program = compile_with(how, function, *arguments, donate=donate)
  seconds = time.perf_counter() - start
  sizes: Any = program.memory_analysis()
  held = sizes.argument_size_in_bytes + sizes.output_size_in_bytes - sizes.alias_size_in_bytes
  return program, {"compile_seconds": seconds, "memory_bytes": held + sizes.temp_size_in_bytes}

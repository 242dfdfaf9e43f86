"""Array functions with a given program for each derivative, in forward and in reverse mode.

`jax.custom_vjp` takes a fast program for a gradient, but refuses `jax.jvp`. `jax.custom_jvp` allows both, but derives
the gradient from the tangent's program. Convolutions, pooling and interpolation are linear in each of their arrays, so
that all their derivatives are known once there is one program for each array: a tangent is the function itself, with
the tangent in the array's position, and a gradient is the program of that array. This holds for derivatives of
derivatives too, under `jax.vmap`, and for a symbolic batch. The one limit: what `jax.vmap` maps over an array without a
batch, such as several kernels, is differentiated by JAX's own rules afterwards, with the same values.
"""

from collections.abc import Callable, Hashable, Sequence
from typing import NamedTuple

import jax
import jax.core
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir


class Form(NamedTuple):
  """A number that is linear in each of several arrays, given by programs for its derivatives.

  For a convolution y = f(x, kernel) the number is the sum of y * f(x, kernel), a function of x, the kernel and y. Its
  derivative by y is the convolution, its derivatives by x and by the kernel are the gradients for a cotangent y.

  Attributes:
    programs: one for each array, `program(*others, *constants, shape=, static=)`: the derivative by that array from
      the other arrays, in order, and the constants. `shape` is that of the array, without the batch axis if it has
      one.
    batched: for each array and then each constant, whether its first axis is the batch.
  """

  programs: tuple[Callable, ...]
  batched: tuple[bool, ...]

  def derivative(
    self,
    wanted: int,
    arrays: Sequence[jax.Array],
    shapes: Sequence[tuple[int, ...]],
    static: Hashable,
    constants: Sequence[jax.Array] = (),
  ) -> jax.Array:
    """The derivative by the array number `wanted`.

    Args:
      wanted: the position of an array.
      arrays: all other arrays, in order, of one dtype.
      shapes: of all arrays, each without the batch axis if it has one.
      static: what else the programs need to know.
      constants: arrays of integers, by which nothing is differentiated.
    """
    return _derivative_p.bind(*arrays, *constants, form=self, wanted=wanted, shapes=tuple(shapes), static=static)


def form(*programs: Callable, batched: Sequence[bool]) -> Form:
  """A `Form` whose programs are traced once for all layers of one shape."""
  return Form(tuple(jax.jit(program, static_argnames=("shape", "static")) for program in programs), tuple(batched))


def with_gradients(forward: Callable, of_input: Callable, of_kernel: Callable) -> Callable:
  """A lowering of a convolution whose gradients have programs of their own.

  Args:
    forward: (x, kernel, geometry) -> y.
    of_input: (g, kernel, spatial sizes of x, geometry) -> the gradient by x for the gradient g by y.
    of_kernel: (x, g, shape of the kernel, geometry) -> the gradient by the kernel.

  Returns:
    The lowering (x, kernel, geometry) -> y.
  """

  def input_gradient(kernel, g, *, shape, static):
    return of_input(g, kernel, shape[:-1], static)

  def kernel_gradient(x, g, *, shape, static):
    return of_kernel(x, g, shape, static)

  def convolution(x, kernel, *, shape, static):
    del shape
    return forward(x, kernel, static)

  bilinear = form(input_gradient, kernel_gradient, convolution, batched=(True, False, True))

  def convolve(x, kernel, geometry):
    output = (*geometry.output_sizes(x, kernel), kernel.shape[-1])
    return bilinear.derivative(2, (x, kernel), (x.shape[1:], kernel.shape, output), geometry)

  return convolve


# A primitive of JAX: linear in its arrays, and closed under differentiation and transposition.
_derivative_p = Primitive("derivative")


@_derivative_p.def_impl
def _run(*operands, form, wanted, shapes, static):
  return form.programs[wanted](*operands, shape=shapes[wanted], static=static)


mlir.register_lowering(_derivative_p, mlir.lower_fun(_run, multiple_results=False))


def _positions(form, wanted):
  """Which array each operand is; constants follow the arrays."""
  return [position for position in range(len(form.batched)) if position != wanted]


@_derivative_p.def_abstract_eval
def _output(*operands, form, wanted, shapes, static):
  del static
  batches = [a.shape[:1] for a, p in zip(operands, _positions(form, wanted), strict=True) if form.batched[p]]
  shape = (*batches[0], *shapes[wanted]) if form.batched[wanted] else shapes[wanted]
  return jax.core.ShapedArray(shape, operands[0].dtype)


def _tangent(primals, tangents, *, form, **parameters):
  """The product rule."""
  terms = []
  for i, tangent in enumerate(tangents[: len(form.programs) - 1]):
    if not isinstance(tangent, ad.Zero):
      terms.append(_derivative_p.bind(*primals[:i], tangent, *primals[i + 1 :], form=form, **parameters))
  return _derivative_p.bind(*primals, form=form, **parameters), sum(terms[1:], start=terms[0])


ad.primitive_jvps[_derivative_p] = _tangent


def _transposed(cotangent, *operands, form, wanted, **parameters):
  """The derivative by the one operand that is not known: the cotangent stands for the array that was wanted."""
  unknown = next(i for i, operand in enumerate(operands) if ad.is_undefined_primal(operand))
  if isinstance(cotangent, ad.Zero):
    return [None] * len(operands)
  positions = _positions(form, wanted)
  values = dict(zip(positions, operands, strict=True)) | {wanted: cotangent}
  by = positions[unknown]
  del values[by]
  result = _derivative_p.bind(*(values[p] for p in sorted(values)), form=form, wanted=by, **parameters)
  return [result if i == unknown else None for i in range(len(operands))]


ad.primitive_transposes[_derivative_p] = _transposed


def _mapped(operands, axes, *, form, wanted, shapes, static):
  """Under `jax.vmap`: the mapped axis joins the batch where all arrays with a batch, and no others, have it."""
  parameters = {"form": form, "wanted": wanted, "shapes": shapes, "static": static}
  has_batch = [form.batched[p] for p in _positions(form, wanted)]
  if not form.batched[wanted] or any(a is not None and not b for a, b in zip(axes, has_batch, strict=True)):
    return jax.vmap(lambda *operands: _run(*operands, **parameters), axes)(*operands), 0
  size = next(operand.shape[axis] for operand, axis in zip(operands, axes, strict=True) if axis is not None)
  joined = []
  for operand, axis, batch in zip(operands, axes, has_batch, strict=True):
    if batch:
      operand = jnp.broadcast_to(operand, (size, *operand.shape)) if axis is None else jnp.moveaxis(operand, axis, 0)
      operand = operand.reshape(size * operand.shape[1], *operand.shape[2:])
    joined.append(operand)
  y = _derivative_p.bind(*joined, **parameters)
  return y.reshape(size, y.shape[0] // size, *y.shape[1:]), 0


batching.primitive_batchers[_derivative_p] = _mapped

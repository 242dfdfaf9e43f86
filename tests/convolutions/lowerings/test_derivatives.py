import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_zoo.convolutions.lowerings import lax, winograd
from cnn_zoo.convolutions.lowerings.windows import Geometry
from tests.helpers.lowerings import EXAMPLES, forward_mode, normal, second_derivatives
from tests.helpers.model_checks import QUICK
from tests.helpers.reference import assert_close


def assert_same(ours, theirs, tolerance=2e-5):
  ours, theirs = jax.tree.leaves(ours), jax.tree.leaves(theirs)
  for a, b in zip(ours, theirs, strict=True):
    assert_close(a, np.asarray(b, np.float64), tolerance)


def both(example, transform, *arrays):
  """`transform` of the lowering and of XLA's own operations."""

  def run(*arrays):
    return [
      transform(functools.partial(function, geometry=example.geometry), *arrays)
      for function in (example.lowering, example.expected)
    ]

  return jax.jit(run, compiler_options=QUICK)(*arrays)


OTHERS = [name for name in EXAMPLES if name != "lax"]
GIVEN = ["matmul", "depthwise", "few_channels", "winograd"]
"""The lowerings whose gradients are programs of their own; JAX derives those of the others."""


@pytest.mark.parametrize("name", OTHERS)
def test_forward_mode(name):
  example = EXAMPLES[name]
  assert_same(*both(example, forward_mode, *normal(example.x, example.kernel)))


@pytest.mark.parametrize("name", GIVEN)
def test_second_derivatives(name):
  example = EXAMPLES[name]
  assert_same(*both(example, second_derivatives, *normal(example.x, example.kernel)))


@pytest.mark.parametrize("name", GIVEN)
def test_vmap(name):
  """Over examples, over kernels, over both; before and after differentiation."""
  example = EXAMPLES[name]

  def transforms(f, xs, kernels):
    def loss(x, kernel):
      return jnp.sum(jnp.sin(f(x, kernel)))

    x, kernel = xs[0], kernels[0]
    return (
      jax.vmap(f, (None, 0))(x, kernels),
      jax.vmap(jax.grad(loss, (0, 1)), (1, None))(jnp.moveaxis(xs, 0, 1), kernel),
      jax.grad(lambda kernel: jax.vmap(loss, (0, None))(xs, kernel).sum())(kernel),
      jax.vmap(lambda v: jax.jvp(f, (x, kernel), (v, kernel))[1])(xs),
    )

  assert_same(*both(example, transforms, *normal((2, *example.x), (2, *example.kernel))))


@pytest.mark.parametrize("name", EXAMPLES)
def test_symbolic_batch(name):
  """Values, gradients and tangents of a program that is exported for any batch."""
  example = EXAMPLES[name]
  x, kernel = normal((3, *example.x[1:]), example.kernel)

  def transforms(function, x, kernel):
    def f(x, kernel):
      return function(x, kernel, example.geometry)

    y, pull = jax.vjp(f, x, kernel)
    return y, pull(jnp.sin(y)), jax.jvp(f, (x, kernel), (jnp.sin(x), kernel))[1]

  (batch,) = jax.export.symbolic_shape("batch")
  shapes = jax.ShapeDtypeStruct((batch, *x.shape[1:]), x.dtype), jax.ShapeDtypeStruct(kernel.shape, kernel.dtype)
  exported = jax.export.export(jax.jit(lambda *arrays: transforms(example.lowering, *arrays)))(*shapes)
  expected = jax.jit(lambda *arrays: transforms(example.expected, *arrays), compiler_options=QUICK)
  assert_same(exported.call(x, kernel), expected(x, kernel))


def test_hessian_and_jacobian():
  """Of a kernel: jacfwd maps forward mode over it, hessian forward over reverse mode."""
  x, kernel = normal((1, 4, 3, 1), (3, 3, 1, 2))
  geometry = Geometry((1, 1), ((1, 1),) * 2, (1, 1))

  def transforms(function):
    def loss(kernel):
      return jnp.sum(jnp.sin(function(x, kernel, geometry)))

    return jax.hessian(loss)(kernel), jax.jacfwd(lambda x: function(x, kernel, geometry))(x)

  assert_same(*jax.jit(lambda: (transforms(winograd.convolve), transforms(lax.convolve)), compiler_options=QUICK)())


def test_gradients_are_the_given_programs():
  """The gradient of a lowering is computed by its own program, not by the transpose of the forward one."""
  geometry = Geometry((1, 1), ((1, 1),) * 2, (1, 1))
  arrays = normal((1, 6, 6, 3), (3, 3, 3, 4), (1, 6, 6, 4))

  def ours(x, kernel, g):
    return jax.vjp(lambda x, kernel: winograd.convolve(x, kernel, geometry), x, kernel)[1](g)

  def given(x, kernel, g):
    gradient = winograd._input_gradient(g, kernel, (6, 6), geometry)
    return gradient, winograd._kernel_gradient(x, g, kernel.shape, geometry)

  lowered = [jax.jit(function).lower(*arrays) for function in (ours, given)]
  assert [program.as_text().count("stablehlo.dot_general") for program in lowered] == [32, 32]
  for a, b in zip(*(program.compile(QUICK)(*arrays) for program in lowered), strict=True):
    np.testing.assert_array_equal(a, b)

"""What a traced program costs."""

import math

import jax.extend


def multiply_adds(jaxpr) -> int:
  """Multiply-adds of the convolutions and matrix products in a jaxpr and all that it calls.

  The zeros that a transposed convolution, or the gradient of a strided one, puts between the elements of its input do
  not count: there every element meets every tap once.
  """
  total = 0
  for equation in jaxpr.eqns:
    output = math.prod(equation.outvars[0].aval.shape)
    if equation.primitive.name == "conv_general_dilated":
      x, kernel = (variable.aval.shape for variable in equation.invars)
      axes = equation.params["dimension_numbers"]
      if max(equation.params["lhs_dilation"]) > 1:
        total += math.prod(x) * math.prod(kernel) // x[axes.lhs_spec[1]]
      else:
        total += output * math.prod(kernel) // kernel[axes.rhs_spec[0]]
    elif equation.primitive.name == "dot_general":
      (contracted, _), _ = equation.params["dimension_numbers"]
      total += output * math.prod(equation.invars[0].aval.shape[axis] for axis in contracted)
    total += sum(multiply_adds(inner) for inner in jax.extend.core.jaxprs_in_params(equation.params))
  return total

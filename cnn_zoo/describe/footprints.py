"""Which inputs reach which outputs of a layer, found by its gradients."""

import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from cnn_zoo.convolutions import lowering


def averaging(layer: nnx.Module) -> nnx.Module:
  """A copy of `layer` whose kernels all take averages, for `reach`.

  With positive weights the paths from an input to an output cannot cancel, and ReLU6 passes what is between 0 and 6.
  """
  graph, parameters, rest = nnx.split(layer, nnx.Param, ...)
  equal = jax.tree.map(lambda p: jnp.full(p.shape, 1 / math.prod(p.shape[:-1]), p.dtype), parameters)
  return nnx.merge(graph, equal, rest)


def reach(layer: Callable[[jax.Array], jax.Array], input_shape: Sequence[int]) -> np.ndarray:
  """Whether an output's gradient by an input is other than 0, for all pairs of them: which inputs the output sees.

  Args:
    layer: any function of a batch; for a module with weights, `averaging(module)`.
    input_shape: of one example, [*spatial, channels]; small, as there is one number a pair.

  Returns:
    bool [*output spatial, output channels, *input spatial, input channels].
  """
  return _gradients(lambda x: layer(x[None])[0], input_shape) != 0


def reach_centre(layer: Callable[[jax.Array], jax.Array], input_shape: Sequence[int]) -> np.ndarray:
  """`reach` for the output in the middle alone: bool [output channels, *input spatial, input channels].

  Any over the channels, it is the output's footprint; summed over space, the taps between the channels.
  """

  def centre(x):
    y = layer(x[None])[0]
    return y[tuple(size // 2 for size in y.shape[:-1])]

  return _gradients(centre, input_shape) != 0


def _gradients(function, input_shape):
  with lowering("lax"):  # one for all backends
    return np.asarray(jax.jit(jax.jacrev(function))(jnp.ones(input_shape)))

"""Which inputs reach which outputs of a layer, found from its gradients."""

import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from cnn_zoo.convolutions import lowering


def averaging(layer: nnx.Module) -> nnx.Module:
  """A copy of `layer` whose kernels compute averages, for `reach`.

  With positive weights the paths from an input to an output cannot cancel, and averages of ones stay between 0 and 6,
  where ReLU6 has a gradient.

  >>> from cnn_zoo import create_convolution
  >>> averaging(create_convolution("standard", 1, 1, (3,), rngs=nnx.Rngs(0))).kernel[:, 0, 0]
  Array([0.33333334, 0.33333334, 0.33333334], dtype=float32)
  """
  graph, parameters, rest = nnx.split(layer, nnx.Param, ...)
  equal = jax.tree.map(lambda p: jnp.full(p.shape, 1 / math.prod(p.shape[:-1]), p.dtype), parameters)
  return nnx.merge(graph, equal, rest)


def reach(layer: Callable[[jax.Array], jax.Array], input_shape: Sequence[int]) -> np.ndarray:
  """Which inputs each output depends on: whether its gradient with respect to each input is other than 0.

  Args:
    layer: any function of a batch. For a module with weights, `averaging(module)`.
    input_shape: of one example, [*spatial, channels]. Keep it small: the result has an element for each pair.

  Returns:
    bool [*output spatial, output channels, *input spatial, input channels].

  >>> reach(lambda x: x[:, 1:] + x[:, :-1], (3, 1))[:, 0, :, 0].astype(int)
  array([[1, 1, 0],
         [0, 1, 1]])
  """
  return _gradients(lambda x: layer(x[None])[0], input_shape) != 0


def reach_centre(layer: Callable[[jax.Array], jax.Array], input_shape: Sequence[int]) -> np.ndarray:
  """`reach` for the central output position only.

  Its `any` over the channels is the footprint of the output. Its sum over space is the number of taps between channels.

  Args:
    layer: as in `reach`.
    input_shape: of one example, [*spatial, channels].

  Returns:
    bool [output channels, *input spatial, input channels].

  >>> reach_centre(lambda x: x[:, 1:] + x[:, :-1], (3, 1))[0, :, 0].astype(int)
  array([0, 1, 1])
  """

  def centre(x):
    y = layer(x[None])[0]
    return y[tuple(size // 2 for size in y.shape[:-1])]

  return _gradients(centre, input_shape) != 0


def _gradients(function, input_shape):
  with lowering("lax"):  # the same on all backends
    return np.asarray(jax.jit(jax.jacrev(function))(jnp.ones(input_shape)))

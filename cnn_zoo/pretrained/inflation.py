"""2-D weights in 3-D networks: a network for images becomes one for clips.

Source: Carreira and Zisserman 2017, Quo Vadis, Action Recognition? A New Model and the Kinetics Dataset, section 2.4.
"""

from collections.abc import Mapping, Sequence

import jax
import numpy as np
from flax import nnx

from cnn_zoo.convolutions import Convolution
from cnn_zoo.errors import UserError, check_name

MODES = ("mean", "centre")


def inflate(kernel: np.ndarray, kernel_size: Sequence[int], mode: str = "mean") -> np.ndarray:
  """A kernel for images as one for clips.

  A clip of identical frames gives the same output as the image. Mode "mean", the paper's, has the kernel divided by
  `time` at every tap; near the ends of a clip, where it reaches into padding, its output is smaller. Mode "centre" has
  the kernel at the middle tap (of an even number the earlier one) and zeros elsewhere: each frame is processed alone.

  Args:
    kernel: [height, width, in, out].
    kernel_size: [time, height, width].
    mode: "mean" or "centre".

  Returns:
    The kernel [time, height, width, in, out].

  Raises:
    UserError: if the mode is not known or the kernel has another height or width.

  Example:
    >>> inflate(np.ones((3, 3, 1, 8), np.float32), (2, 3, 3))[:, 0, 0, 0, 0]
    array([0.5, 0.5], dtype=float32)
  """
  check_name("mode", mode, MODES)
  kernel, time = np.asarray(kernel), kernel_size[0]
  if kernel.ndim != 4 or kernel.shape[:2] != tuple(kernel_size[1:]) or time < 1:
    raise UserError(f"a kernel {kernel.shape} [height, width, in, out] cannot become one of {tuple(kernel_size)} taps")
  if mode == "mean":
    return np.repeat(kernel[None] / np.float32(time), time, axis=0)
  inflated = np.zeros((time, *kernel.shape), kernel.dtype)
  inflated[(time - 1) // 2] = kernel
  return inflated


def inflatable(model: nnx.Module, shapes: Mapping[str, tuple[int, ...]]) -> list[str]:
  """The names of the kernels of a 2-D network that `inflate` turns into kernels of `model`.

  Args:
    model: of rank 3; it may be abstract.
    shapes: {name: shape} of the tensors of a 2-D network, as "stages.0.1.conv2.kernel".

  Returns:
    Those names in `shapes` that belong to a convolution of `model` and lack only its axis of time.

  Example:
    >>> layer = Convolution(3, 8, (2, 7, 7), rngs=nnx.Rngs(0))
    >>> inflatable(layer, {"kernel": (7, 7, 3, 8), "bias": (8,)})
    ['kernel']
  """
  names = []
  for path, module in nnx.iter_modules(model):
    # Of a transposed convolution only some taps meet in one output.
    if isinstance(module, Convolution) and len(module.kernel_size) == 3:
      name = ".".join([*map(str, path), "kernel"])
      if shapes.get(name) == module.kernel.get_value().shape[1:]:
        names.append(name)
  return names


def inflate_weights(model_2d: nnx.Module, model_3d: nnx.Module, mode: str = "mean") -> None:
  """Loads the weights of a 2-D network into the same architecture of rank 3, in place.

  Kernels of convolutions are inflated; all other parameters and the batch statistics are copied.

  Args:
    model_2d: the network for images.
    model_3d: the network for clips; it may be abstract (`cnn_zoo.models.abstract_model`).
    mode: how kernels are extended along time, "mean" or "centre"; see `inflate`.

  Raises:
    UserError: if the mode is not known or a tensor has no counterpart, or one of another shape; it names all of these.
      `model_3d` is as it was.

  Example:
    >>> image = Convolution(1, 8, (3, 3), rngs=nnx.Rngs(0))
    >>> clip = Convolution(1, 8, (2, 3, 3), rngs=nnx.Rngs(1))
    >>> inflate_weights(image, clip)
    >>> np.array_equal(clip.kernel[0], image.kernel[...] / 2)
    True
  """
  check_name("mode", mode, MODES)
  given, wanted = _tensors(model_2d), _tensors(model_3d)
  given_shapes, wanted_shapes = ({name: x.get_value().shape for name, x in side.items()} for side in (given, wanted))
  inflated = set(inflatable(model_3d, given_shapes))
  names = {**given, **wanted}
  wrong = [name for name in names if given_shapes.get(name) != wanted_shapes.get(name) and name not in inflated]
  if wrong:
    what = ", ".join(f"{name} {given_shapes.get(name, 'none')} -> {wanted_shapes.get(name, 'none')}" for name in wrong)
    raise UserError(f"the weights of {type(model_2d).__name__} do not fit {type(model_3d).__name__} of rank 3: {what}")
  for name, variable in wanted.items():
    old, new = variable.get_value(), np.asarray(given[name].get_value())
    new = inflate(new, old.shape[:3], mode) if name in inflated else new
    sharding = old.sharding if getattr(old, "committed", False) else None  # what JAX was free to place stays so
    variable.set_value(jax.device_put(np.array(new, old.dtype), sharding))  # a copy: memory is not shared


def _tensors(model):
  """{name: variable} of all parameters and batch statistics."""
  state = nnx.to_flat_state(nnx.state(model, (nnx.Param, nnx.BatchStat)))
  return {".".join(map(str, path)): variable for path, variable in state}

"""The weights of torchvision and timm in our models.

A family whose weights are published has a file of its model file's name here, with a function of the source's name:

    torchvision(name, model) -> their name of our tensor `name`; `model` may be left out where names alone tell

Our name of a tensor is the path of the layer that owns it and PyTorch's name of the tensor in such a layer, as
"blocks.3.depthwise.weight". Two more names are looked up in the file:

    OPTIONAL = {source: (pattern, ...)}                 their tensors that either side may lack: auxiliary heads
    RENAMED = {source: ((pattern, replacement), ...)}   their old names, as older files have them, and today's
"""

import collections
import contextlib
import importlib
import importlib.util
import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from cnn_zoo.convolutions import Convolution, TransposedConvolution
from cnn_zoo.errors import UserError, check_name
from cnn_zoo.layers import Linear
from cnn_zoo.pretrained.state_dicts import select_state_dict, to_numpy

SOURCES = ("torchvision", "timm")
_LEAVES = {"kernel": "weight", "scale": "weight", "mean": "running_mean", "variance": "running_var"}
_SHOWN = 20  # names that a message lists of each kind


class Tensor(NamedTuple):
  """One tensor of a model, as PyTorch would have it.

  Attributes:
    variable: where it is in the model.
    shape: that of PyTorch's tensor.
    convert: an array of that shape -> one of the variable's.
  """

  variable: nnx.Variable
  shape: tuple[int, ...]
  convert: Callable[[np.ndarray], np.ndarray]


def load_torch_state_dict(
  model: nnx.Module, state: Mapping[str, Any], source: str = "torchvision", *, adapt_input: bool = False
) -> list[str]:
  """Loads the weights of PyTorch's implementation of the same network into `model`, in place.

  Every tensor is used once. Kernels are transposed, axes of length 1 that only one side has are bridged, and
  `num_batches_tracked` is not needed. The model may be abstract (`cnn_zoo.models.abstract_model`).

  Args:
    model: of a family whose weights are published; with the number of classes and input channels of the weights.
    state: {name: tensor} as a PyTorch state dict has them, NumPy's arrays or PyTorch's tensors of any dtype. Wrappers
      and prefixes that training programs add are recognised: {"state_dict": ...}, {"model": ...}, averaged weights
      (EMA), which are preferred, "module.", "_orig_mod." and "model.".
    source: whose names they are, "torchvision" or "timm".
    adapt_input: whether weights for images of 1 channel fit a model of 3 channels and the reverse. The first kernel is
      repeated and divided by 3, or summed over its channels, as timm does: the logits of a grey image stay the same.

  Returns:
    What was done besides copying, one line each: the entry taken, the prefix removed, the kernel adapted. Mostly empty.

  Raises:
    UserError: if a tensor is missing, left over or has another shape, holds a number that is not finite, a negative
      variance or whole numbers, with the names of all such tensors, or if the family has no weights from `source`. The
      model is as it was.

  Example:
    >>> from cnn_zoo.models import abstract_model
    >>> load_torch_state_dict(abstract_model("vgg11"), {"features.0.weight": np.zeros((64, 3, 3, 3))})
    Traceback (most recent call last):
      ...
    cnn_zoo.errors.UserError: the weights from torchvision do not fit this VGG: 21 missing: ...
  """
  state, notes = select_state_dict(state)
  matched = match_tensors(model, {name: np.shape(value) for name, value in state.items()}, source, adapt_input)
  arrays, wrong = {}, collections.defaultdict(list)
  for name, tensor in matched.items():
    value = to_numpy(state[name])
    if not jnp.issubdtype(value.dtype, jnp.floating):
      wrong["not of floating-point numbers"].append(f"{name} ({value.dtype})")
      continue
    if _differ_in_input(value.shape, tensor.shape):
      notes.append(f"{name}: adapted from {value.shape[1]} to {tensor.shape[1]} input channels")
      value = _adapt_input(value, tensor.shape[1])
    new = tensor.convert(value.reshape(tensor.shape))
    with np.errstate(over="ignore"):
      new = np.array(new, tensor.variable.get_value().dtype, order="C")  # a copy: device_put may share memory
    if not np.isfinite(new).all():
      wrong["with numbers that are not finite"].append(name)
    elif name.endswith("running_var") and (new < 0).any():
      wrong["with negative variances"].append(name)
    arrays[name] = new
  if wrong:
    what = "; ".join(f"{len(names)} {kind}: {_listed(names)}" for kind, names in wrong.items())
    raise UserError(f"the weights from {source} hold what no network of this kind has: {what}")
  for name, tensor in matched.items():
    old, new = tensor.variable.get_value(), arrays.pop(name)
    sharding = old.sharding if getattr(old, "committed", False) else None  # what JAX was free to place stays so
    tensor.variable.set_value(jax.device_put(new, sharding))
  return notes


def match_tensors(
  model: nnx.Module, shapes: Mapping[str, tuple[int, ...]], source: str, adapt_input: bool = False
) -> dict[str, Tensor]:
  """{name in `shapes`: our tensor} for weights of these shapes; arguments and errors as `load_torch_state_dict`."""
  family = _family(model, source)
  wanted, twice = _named_tensors(model, getattr(family, source))
  for pattern, replacement in getattr(family, "RENAMED", {}).get(source, ()):
    old_names = {re.sub(pattern, replacement, name): name for name in shapes}
    wanted = {old_names.get(name, name): tensor for name, tensor in wanted.items()}
  given = {name: tuple(shape) for name, shape in shapes.items() if not name.endswith("num_batches_tracked")}
  for pattern in getattr(family, "OPTIONAL", {}).get(source, ()):
    ours, theirs = ([name for name in names if re.match(pattern, name)] for names in (wanted, given))
    if not ours or not theirs:
      wanted = {name: tensor for name, tensor in wanted.items() if name not in ours}
      given = {name: shape for name, shape in given.items() if name not in theirs}
  misshapen = [
    name for name, tensor in wanted.items() if name in given and not _same_but_for_ones(given[name], tensor.shape)
  ]
  inputs, hint = [name for name in misshapen if _differ_in_input(given[name], wanted[name].shape)], ""
  if len(inputs) == 1 and adapt_input:
    misshapen.remove(inputs[0])
  elif len(inputs) == 1:
    hint = f"; adapt_input=True would adapt {inputs[0]}"
  wrong = {
    "missing": [name for name in wanted if name not in given],
    "surplus": [name for name in given if name not in wanted],
    "misshapen": [f"{name} {given[name]} instead of {wanted[name].shape}" for name in misshapen],
    "wanted twice": twice,
  }
  if any(wrong.values()):
    what = "; ".join(f"{len(names)} {kind}: {_listed(names)}" for kind, names in wrong.items() if names)
    raise UserError(f"the weights from {source} do not fit this {type(model).__name__}: {what}{hint}")
  return wanted


def _differ_in_input(given, wanted):
  """Whether two shapes of PyTorch's kernels differ only in that one is of 1 input channel and the other of 3."""
  same = len(given) == len(wanted) >= 3 and given[:1] + given[2:] == wanted[:1] + wanted[2:]
  return same and {given[1], wanted[1]} == {1, 3}


def _adapt_input(kernel, channels):
  """A kernel [out, 1 or 3, *sizes] for another number of input channels, with the same response to grey images."""
  kernel = np.asarray(kernel, np.float32)
  return kernel.sum(1, keepdims=True) if channels == 1 else np.repeat(kernel / channels, channels, 1)


def _family(model, source):
  """The file that knows the published weights of the model's family."""
  check_name("source", source, SOURCES)
  name = type(model).__module__.rsplit(".", 1)[-1]
  module = f"{__package__}.families.{name}"
  family = importlib.import_module(module) if importlib.util.find_spec(module) else None
  known = [known for known in SOURCES if hasattr(family, known)]
  if source not in known:
    valid = f"valid: {', '.join(known)}" if known else "none are known"
    raise UserError(f"source={source!r} has no weights for a {type(model).__name__} of {name}; {valid}")
  return family


def _named_tensors(model, rename):
  """{their name: our tensor}, and the names which more than one of ours would have."""
  needs_model = len(inspect.signature(rename).parameters) > 1
  tensors, twice = {}, []
  for path, module in nnx.iter_modules(model):
    for leaf, variable in vars(module).items():
      if isinstance(variable, nnx.Param | nnx.BatchStat):
        name = ".".join([*map(str, path), _LEAVES.get(leaf, leaf)])
        with contextlib.suppress(LookupError, ValueError):  # of a layer that replaces a published one
          name = rename(name, model) if needs_model else rename(name)
        twice += [name] * (name in tensors)
        tensors[name] = Tensor(variable, *_layout(module, leaf, variable.get_value().shape))
  return tensors, twice


def _layout(module, leaf, shape):
  """PyTorch's shape of a tensor which has `shape` here, and what brings an array from there to here."""
  rank = len(shape) - 2
  if leaf == "kernel" and isinstance(module, TransposedConvolution):
    *sizes, inputs, outputs = shape  # inputs of one group, outputs of all
    groups = module.groups

    def convert(x):  # [in, out / groups, *sizes]
      x = x.reshape(groups, inputs, outputs // groups, *sizes)
      return x.transpose(*range(3, rank + 3), 1, 0, 2).reshape(shape)

    return (groups * inputs, outputs // groups, *sizes), convert
  if leaf == "kernel" and isinstance(module, Convolution | Linear):
    return (shape[-1], shape[-2], *shape[:-2]), lambda x: x.transpose(*range(2, rank + 2), 1, 0)
  return shape, lambda x: x


def _same_but_for_ones(given, wanted):
  """Whether the shapes are equal, or are of different ranks and equal without the axes of length 1."""
  if len(given) == len(wanted):
    return given == wanted
  return [n for n in given if n != 1] == [n for n in wanted if n != 1]


def _listed(names):
  more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
  return ", ".join(names[:_SHOWN]) + more

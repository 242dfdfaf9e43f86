"""What torchvision's and timm's models answer to known weights and a known input, and what ours do.

Weights and inputs are functions of a tensor's name and shape. make_golden.py computed the references, in float64:

    {model: {"source", "input": [N, C, ...], "state_dict": {name: shape}, "logits": [[...first 16 of each row...]],
             "mean": float, "std": float}}
"""

import contextlib
import functools
import gzip
import json
import pathlib
import zlib
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from cnn_zoo.layers import Dropout, StochasticDepth
from cnn_zoo.models import abstract_model, published_setting
from cnn_zoo.pretrained import conventions
from cnn_zoo.pretrained.loading import load_torch_state_dict


@functools.cache
def references():
  """{name: reference} of all models."""
  paths = sorted(pathlib.Path(__file__).parent.glob("golden*.json.gz"))
  return {name: model for path in paths for name, model in json.loads(gzip.decompress(path.read_bytes())).items()}


def golden(name):
  """The reference of one model, such as "resnet50" or "timm/resnet50"."""
  return references()[name]


def tensor(name, shape, seed=0):
  """The value of the state-dict entry `name`: float64, a function of its name, its shape and the seed alone."""
  x = np.random.default_rng([zlib.crc32(name.encode()), seed]).standard_normal(shape)
  last = name.rsplit(".", 1)[-1]
  if last == "num_batches_tracked":
    return np.zeros(shape, np.int64)
  if last == "running_var":
    return 1.0 + 0.2 * np.abs(x)
  if last in ("running_mean", "bias"):
    return 0.1 * x
  if last in ("layer_scale", "gamma"):  # ConvNeXt's scale of each channel of a residual
    return 0.5 + 0.1 * x
  if len(shape) == 1:  # the scale of a normalisation layer
    return 1.0 + 0.1 * x
  return x * np.sqrt(1.0 / np.prod(shape[1:]))


def image(shape, seed=0):
  """The input batch [N, C, *spatial], float64."""
  return np.random.default_rng([1, seed]).standard_normal(shape)


# Names that golden models have here, where they differ.
OURS = {
  "mobilenetv1_100": "mobilenet_v1",
  "mobilenetv2_100": "mobilenet_v2",
  "tf_efficientnetv2_xl": "efficientnet_v2_xl",
}


class _Lazy:
  """A weight by its name and shape, made when it is asked for."""

  def __init__(self, name, shape):
    self.name, self.shape = name, shape

  def __array__(self, dtype=None, copy=None):
    return np.asarray(tensor(self.name, self.shape), dtype)


def golden_logits(name, alter=None, **options):
  """Our float32 logits of golden model `name`: [N, first 16], classes first, then places in an image, as NumPy.

  Args:
    name: a model of `references()`.
    alter: a function that changes the model, with its weights in it, before it runs.
    **options: of the architecture.
  """
  reference = golden(name)
  ours = name.rpartition("/")[2]
  ours = OURS.get(ours, ours)
  options = conventions.options(ours, reference["source"]) | options
  model = abstract_model(ours, num_classes=published_setting(ours).num_classes, **options)
  state = {key: _Lazy(key, shape) for key, shape in reference["state_dict"].items()}
  load_torch_state_dict(model, state, source=reference["source"])
  model.eval()
  for _, module in nnx.iter_modules(model):
    if isinstance(module, Dropout | StochasticDepth):  # not used, and otherwise the only difference between blocks
      module.rate, module.key = 0.0, None
  if alter is not None:
    alter(model)
  x = jnp.asarray(np.moveaxis(image(reference["input"]), 1, -1), jnp.float32)
  with _compiled_by_parts(model):
    logits = np.asarray(model(x))
  return np.moveaxis(logits, -1, 1).reshape(len(logits), -1)[:, :16]


@contextlib.contextmanager
def _compiled_by_parts(model):
  """Within the context, `model` runs each of its blocks as a program that equal blocks of all models share.

  Compiling a network as one program takes up to a minute, and running it operation by operation hardly less.
  """
  parts = dict(_parts(model))
  with contextlib.ExitStack() as stack:
    for kind in set(map(type, parts.values())):
      stack.enter_context(mock.patch.object(kind, "__call__", _calls_compiled(kind.__call__, parts)))
    yield


def _parts(module):
  """(id, module) of the largest modules within `module` that hold no list of others."""
  for _, child in nnx.iter_children(module):
    if any(isinstance(inner, nnx.List) for _, inner in nnx.iter_modules(child)):
      yield from _parts(child)
    else:
      yield id(child), child


def _calls_compiled(original, parts):
  def call(self, *arguments):
    if id(self) not in parts:
      return original(self, *arguments)
    return _run(*nnx.split(self), *arguments)

  return call


@functools.partial(jax.jit, static_argnums=0, compiler_options={"xla_backend_optimization_level": 0})  # a third less
def _run(graph, state, *arguments):
  return nnx.merge(graph, state)(*arguments)


def error(name, alter=None, **options):
  """The largest difference between our logits and the reference's, in standard deviations of the reference."""
  reference = golden(name)
  return np.abs(golden_logits(name, alter, **options) - reference["logits"]).max() / reference["std"]

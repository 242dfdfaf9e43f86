"""Starts from the weights of another run, or from imported ones."""

import contextlib
import json

import jax
import numpy as np
from ml_collections import ConfigDict

from cnn_zoo.errors import UserError
from cnn_zoo.models import model_options
from cnn_zoo.pretrained.inflation import inflatable, inflate
from cnn_zoo.tasks import get_task
from cnn_zoo.training.checkpoints import Checkpoints, ocp
from cnn_zoo.training.folder import RunFolder
from cnn_zoo.training.programs import Programs
from cnn_zoo.training.state import tensor_name, tensor_shapes

# Options that do not change what weights of the same shapes compute in evaluation; another rank has other shapes.
_HARMLESS = {"dropout_rate", "layer_scale", "rank", "remat", "stochastic_depth_rate", "zero_init_residual"}


def load_initial_weights(programs: Programs, config: ConfigDict) -> str:
  """Replaces the random initial weights by those of the last whole checkpoint in `config.init`.

  They are the averaged weights if there are any. A classifier of another number of classes keeps its random weights.
  Kernels of the same architecture on images are inflated for one on clips (`cnn_zoo.pretrained.inflation.inflate`).

  Args:
    programs: of the run; their `network` is changed.
    config: the run's configuration.

  Returns:
    A line that says what was loaded.

  Raises:
    UserError: if `config.init` holds no checkpoint, or its model has other layers or layers of other sizes.
    DamageError: if no checkpoint is whole.

  Example:
    >>> from cnn_zoo.training.mesh import create_mesh
    >>> from cnn_zoo.training.settings import default_config
    >>> config = default_config("lenet5")
    >>> config.init = "runs/none"
    >>> load_initial_weights(Programs(config, create_mesh(), prepared=False), config)
    Traceback (most recent call last):
      ...
    cnn_zoo.errors.UserError: config.init='runs/none' holds no checkpoints; valid: the folder of a run or of ...
  """
  folder = RunFolder(config.init, "config.init")
  if not folder.checkpoints.is_dir():
    raise UserError(
      f"config.init={config.init!r} holds no checkpoints; valid: the folder of a run or of scripts/import_weights.py"
    )
  metric = get_task(config.task).best
  with contextlib.closing(Checkpoints(folder.checkpoints, keep=1, metric=metric, writable=False)) as checkpoints:
    if not checkpoints.steps():
      raise UserError(f"config.init={config.init!r} holds no checkpoint yet")
    random = {"params": programs.network.params, "batch_stats": programs.network.batch_stats}
    num_classes = programs.info.num_classes

    def load(step):
      details = checkpoints.details(step)
      saved = tensor_shapes(checkpoints.weight_shapes(step))
      inflated = set(inflatable(programs.network.module(**random), saved))
      fresh = _other_classes(programs.weight_shapes, saved, inflated, num_classes, config.init)

      def wanted(path, x):
        if tensor_name(path) in fresh:
          return ocp.PLACEHOLDER
        return jax.ShapeDtypeStruct(saved[tensor_name(path)], x.dtype, sharding=x.sharding)

      shapes = jax.tree.map_with_path(wanted, programs.weight_shapes)
      return details, inflated, fresh, checkpoints.restore_weights(step, shapes)

    step, (details, inflated, fresh, loaded), damage = checkpoints.newest_whole(load)

  def initial(path, x, y):
    y = np.asarray(x if y is ocp.PLACEHOLDER else y)
    return inflate(y, x.shape[:3]) if tensor_name(path) in inflated else y

  weights = jax.tree.map_with_path(initial, random, loaded)
  programs.network.params, programs.network.batch_stats = weights["params"], weights["batch_stats"]
  line = f"warning: {'; '.join(damage)}; " if damage else ""
  line += f"starting from the weights {_origin(details, step)} in {folder}"
  if inflated:
    line += f", {len(inflated)} kernels of images repeated along time"
  if fresh:
    old = next(iter(fresh.values()))[-1]
    line += f", except {' and '.join(fresh)}: re-initialised for {num_classes} classes instead of {old}"
  made_for = details["config"]
  line += _other_normalization(made_for["data"], config)
  return line + _other_options(made_for["model"], config.model.to_dict())


def _origin(details, step):
  imported = details["imported"]
  return f"of {imported['weights']} ({imported['source']})" if imported else f"of step {step}"


def _other_classes(own, saved, inflated, num_classes, init):
  """{name: saved shape} of the tensors that differ by the number of classes; UserError if others differ.

  Those that are `inflated` do not count.
  """
  own = tensor_shapes(own)
  different = [name for name in {**own, **saved} if own.get(name) != saved.get(name) and name not in inflated]
  wrong = [name for name in different if not _is_classifier(own.get(name), saved.get(name), num_classes)]
  if wrong:
    first = "; ".join(f"{name}: {saved.get(name, 'none')} -> {own.get(name, 'none')}" for name in wrong[:3])
    more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
    raise UserError(f"config.init={init!r} does not fit this model ({first}{more})")
  return {name: saved[name] for name in different}


def _is_classifier(own, saved, num_classes):
  """Whether two shapes differ by the number of classes alone: in the last axis, or in others as well."""
  if not own or not saved or len(own) != len(saved) or own[-1] == saved[-1]:
    return False
  different = {(new, old) for new, old in zip(own, saved, strict=True) if new != old}
  return different == {(num_classes, saved[-1])}


def _other_normalization(made_for, config):
  """What to say if the inputs of this run are normalised in another way than those that the weights were made for."""
  other = [field for field in ("mean", "std") if tuple(made_for[field]) != tuple(config.data[field])]
  return "".join(f"; they were made for config.data.{field}={tuple(made_for[field])}" for field in other)


def _other_options(made_for, model):
  """What to say of options, such as an epsilon or a stride, that differ but do not show in the shapes of weights."""
  theirs, ours = map(_options, (made_for, model))
  other = [option for option in ours if option in theirs and ours[option] != theirs[option]]
  return "".join(f"; they were made for config.model.{option}={theirs[option]}" for option in other)


def _options(model):
  """{option: value as JSON has it} of a `config.model`, in which None stands for the architecture's default."""
  given = {option: value for option, value in model.items() if value is not None}
  options = json.loads(json.dumps({**model_options(given.pop("name")), **given}))
  return {option: value for option, value in options.items() if option not in _HARMLESS}

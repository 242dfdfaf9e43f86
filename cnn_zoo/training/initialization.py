"""Starting from the weights of another run, or from imported ones."""

import json
from pathlib import Path

import jax
import numpy as np
from ml_collections import ConfigDict

from cnn_zoo import data
from cnn_zoo.errors import UserError
from cnn_zoo.tasks import get_task
from cnn_zoo.training.checkpoints import Checkpoints, ocp
from cnn_zoo.training.programs import Programs


def load_initial_weights(programs: Programs, config: ConfigDict) -> str:
  """Puts the weights of the last checkpoint in `config.init` in the place of the drawn ones; returns a line about it.

  They are the averaged weights if there are any. A classifier of another number of classes stays as it was drawn.

  Raises:
    UserError: if `config.init` holds no checkpoint, or its model has other layers or layers of other sizes.
  """
  workdir = Path(config.init)
  if not (workdir / "checkpoints").is_dir():
    raise UserError(
      f"config.init={config.init!r} holds no checkpoints; valid: the folder of a run or of scripts/import_weights.py"
    )
  checkpoints = Checkpoints(workdir / "checkpoints", keep=1, metric=get_task(config.task).best, writable=False)
  if not checkpoints.steps():
    raise UserError(f"config.init={config.init!r} holds no checkpoint yet")
  step = checkpoints.steps()[-1]
  own = {"params": programs.shapes.params, "batch_stats": programs.shapes.batch_stats}
  num_classes, _ = data.dataset_shape(config.data)
  fresh = _other_classes(own, checkpoints.weight_shapes(step), num_classes, config.init)
  wanted = jax.tree.map_with_path(lambda path, x: ocp.PLACEHOLDER if _name(path) in fresh else x, own)
  loaded = checkpoints.restore_weights(step, wanted)
  checkpoints.close()
  drawn = {"params": programs.network.params, "batch_stats": programs.network.batch_stats}
  weights = jax.tree.map(lambda x, y: np.asarray(x if y is ocp.PLACEHOLDER else y), drawn, loaded)
  programs.network.params, programs.network.batch_stats = weights["params"], weights["batch_stats"]
  says = f"starting from the weights of step {step} in {workdir}"
  if fresh:
    old = next(iter(fresh.values()))[-1]
    says += f", but for {' and '.join(fresh)}: drawn anew for {num_classes} classes in place of {old}"
  return says + _other_normalization(workdir / "config.json", config)


def _other_classes(own, saved, num_classes, init):
  """{name: saved shape} of the tensors that differ by the number of classes; UserError if others differ."""
  own = {_name(path): x.shape for path, x in jax.tree.leaves_with_path(own)}
  saved = {_name(path): tuple(x.shape) for path, x in jax.tree.leaves_with_path(saved)}
  different = [name for name in {**own, **saved} if own.get(name) != saved.get(name)]
  wrong = [name for name in different if not _is_classifier(own.get(name), saved.get(name), num_classes)]
  if wrong:
    first = "; ".join(f"{name}: {saved.get(name, 'none')} -> {own.get(name, 'none')}" for name in wrong[:3])
    more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
    raise UserError(f"config.init={init!r} does not fit this model ({first}{more})")
  return {name: saved[name] for name in different}


def _is_classifier(own, saved, num_classes):
  """Whether two shapes differ in their last axis alone, the classes."""
  return bool(own and saved) and own[:-1] == saved[:-1] and own[-1] == num_classes


def _other_normalization(saved, config):
  """What to say if the pixels of this run are not what the weights were made for."""
  if not saved.is_file():
    return ""
  made_for = json.loads(saved.read_text())["data"]
  other = [f for f in ("mean", "std") if f in made_for and tuple(made_for[f]) != tuple(config.data[f])]
  return "".join(f"; they were made for config.data.{field}={tuple(made_for[field])}" for field in other)


def _name(path):
  """A leaf's path without "params" or "batch_stats", as "blocks.3.expand.kernel"."""
  return ".".join(str(getattr(key, "key", getattr(key, "idx", key))) for key in path[1:])

"""Runs of train.py and eval.py, in this process and in others, and what they leave."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import jax

from cnn_zoo import command_line
from cnn_zoo.training.checkpoints import Checkpoints
from cnn_zoo.training.folder import RunFolder
from cnn_zoo.training.mesh import create_mesh
from cnn_zoo.training.programs import Programs
from tests.helpers import ROOT

CACHE = ""  # set by conftest.py

# Log windows, checkpoints and evaluations that do not fall on the same steps.
UNEVEN = {"steps": 90, "checkpoint.every_steps": 7, "log_every_steps": 4, "ema_decay": 0.9}

# Four kinds of state in little time: batch statistics, stochastic depth, dropout and averaged weights.
TINY_EFFICIENTNET = {
  "model.width": 0.25,
  "model.depth": 0.3,
  "model.stochastic_depth_rate": 0.5,
  "data.image_size": 16,
  "log_every_steps": 1,
}


def load(name, **fields):
  """The configuration configs/NAME.py with these fields; dots in a field's name are written as they are, by `**{}`."""
  config = command_line.load_config(str(ROOT / "configs" / f"{name}.py"))
  for field, value in {"compilation_cache": CACHE, **fields}.items():
    *parents, last = field.split(".")
    group = config
    for parent in parents:
      group = group[parent]
    group[last] = value
  return config


def arguments(name, workdir, fields):
  flags = [f"--config.{field}={value}" for field, value in {"compilation_cache": CACHE, **fields}.items()]
  return ["train.py", f"--config=configs/{name}.py", f"--workdir={workdir}", *flags]


def start(arguments, **environment):
  """Starts `python ARGUMENTS` in the repository."""
  pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
  return subprocess.Popen([sys.executable, *arguments], cwd=ROOT, env={**os.environ, **environment}, **pipes)


def free_port():
  with socket.socket() as s:
    s.bind(("127.0.0.1", 0))
    return s.getsockname()[1]


def finish(process, code=0):
  """(stdout, stderr) of a process that must end with this exit code."""
  try:
    out, err = process.communicate(timeout=240)
  finally:
    process.kill()
  assert process.returncode == code, f"exit code {process.returncode}:\n{out[-3000:]}\n{err[-3000:]}"
  return out, err


def train_process(name, workdir, fields=(), code=0, **environment):
  return finish(start(arguments(name, workdir, dict(fields)), **environment), code)


def save_untrained(workdir, name, fields, change=lambda state: state):
  """The folder of a run that has not trained: its checkpoint holds the initial weights, changed by `change`."""
  config, folder = load(name, **fields), RunFolder(workdir)
  state = change(Programs(config, create_mesh(), prepared=False).initial_state())
  checkpoints = Checkpoints(folder.checkpoints, keep=1, metric="top1")
  checkpoints.save(1, state, {"config": config.to_dict(), "imported": None}, None)
  checkpoints.close()
  folder.write_config(config)
  return folder.path


def rows(workdir, split="train"):
  lines = (Path(workdir) / "metrics.jsonl").read_text().splitlines()
  return [row for row in map(json.loads, lines) if row["split"] == split]


def losses(workdir):
  return [row["loss"] for row in rows(workdir)]


def saved_steps(workdir):
  return sorted(int(path.name) for path in (Path(workdir) / "checkpoints").iterdir() if path.name.isdigit())


def saved_state(workdir, config, step=None):
  """The state of a checkpoint, by default the last."""
  checkpoints = Checkpoints(Path(workdir) / "checkpoints", keep=2, metric="top1", writable=False)
  state = checkpoints.restore(step or checkpoints.steps()[-1], Programs(config, create_mesh()).shapes)
  checkpoints.close()
  return jax.device_get(state)


def different_leaves(a, b):
  """Paths of the leaves that are not the same bits."""
  a, b = jax.tree.leaves_with_path(a), jax.tree.leaves_with_path(b)
  assert [path for path, _ in a] == [path for path, _ in b]
  return [jax.tree_util.keystr(path) for (path, x), (_, y) in zip(a, b, strict=True) if x.tobytes() != y.tobytes()]

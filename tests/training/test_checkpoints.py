"""Checkpoints by themselves."""

import os
import threading
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_zoo.errors import UserError
from cnn_zoo.training.checkpoints import Checkpoints
from cnn_zoo.training.loop import train
from tests.helpers import runner


def shapes(tree):
  return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), tree)


def test_donation(tmp_path):
  """What is saved is the state as it was, although its memory is overwritten at once."""
  state = {"big": jnp.arange(1 << 20, dtype=jnp.float32), "step": jnp.zeros((), jnp.int32)}
  next_state = jax.jit(lambda s: jax.tree.map(lambda x: x + 1, s), donate_argnums=0)
  first, state = state, next_state(state)
  assert first["big"].is_deleted(), "nothing is donated, so the test says nothing"
  checkpoints = Checkpoints(tmp_path / "checkpoints", keep=4, metric="top1")
  copies = {}
  for step in (1, 2, 3):
    copies[step] = jax.tree.map(jnp.copy, state)  # on the device: a NumPy view would keep it from being donated
    checkpoints.save(step, state, {"n": step}, None)
    for _ in range(20):
      state = next_state(state)
  checkpoints.close()
  checkpoints = Checkpoints(tmp_path / "checkpoints", keep=4, metric="top1")
  for step, copy in copies.items():
    restored = checkpoints.restore(step, shapes(state))
    assert jax.tree.all(jax.tree.map(np.array_equal, jax.device_get(restored), copy))
    assert checkpoints.details(step) == {"n": step}
  checkpoints.close()


def test_last_and_best_are_kept(tmp_path):
  state = {"x": jnp.arange(3.0)}
  checkpoints = Checkpoints(tmp_path / "checkpoints", keep=2, metric="top1")
  for step, top1 in ((1, 0.1), (2, 0.9), (3, None), (4, 0.5), (5, None), (6, 0.9), (7, None), (8, 0.2)):
    checkpoints.save(step, state, {"n": 1}, None if top1 is None else {"top1": top1, "loss": 1.0})
  checkpoints.close()
  checkpoints = Checkpoints(tmp_path / "checkpoints", keep=2, metric="top1")
  assert checkpoints.steps()[-2:] == [7, 8]
  assert len(checkpoints.steps()) == 3
  assert checkpoints.best_step() in (2, 6)  # as good as each other
  with pytest.raises(UserError, match=r"step=5 is not among the checkpoints .*; valid: \d, 7, 8"):
    checkpoints.restore(5, shapes(state))
  checkpoints.close()


def test_leftovers(tmp_path):
  """A checkpoint that was not finished is not one; a reader leaves it alone, a writer removes it."""
  state = {"x": jnp.arange(3.0)}
  checkpoints = Checkpoints(tmp_path / "checkpoints", keep=2, metric="top1")
  checkpoints.save(1, state, {"n": 1}, None)
  checkpoints.close()
  left = tmp_path / "checkpoints" / "2.orbax-checkpoint-tmp"
  left.mkdir()
  reader = Checkpoints(tmp_path / "checkpoints", keep=2, metric="top1", writable=False)
  assert reader.steps() == [1] and left.exists()
  reader.close()
  writer = Checkpoints(tmp_path / "checkpoints", keep=2, metric="top1")
  writer.save(3, state, {"n": 3}, None)
  assert writer.steps()[0] == 1 and 2 not in writer.steps() and not left.exists()
  writer.close()


def test_no_checkpoint(tmp_path):
  checkpoints = Checkpoints(tmp_path / "checkpoints", keep=2, metric="top1")
  assert checkpoints.steps() == [] and checkpoints.best_step() is None
  with pytest.raises(UserError, match="valid: none"):
    checkpoints.restore(1, {})
  checkpoints.close()


def test_relative_workdir(tmp_path, monkeypatch):
  """The default workdir is relative to where the command is typed."""
  config = runner.load("lenet5", steps=2, batch_size=8)
  monkeypatch.chdir(tmp_path)
  train(config, Path("runs/relative"))
  assert runner.saved_steps(tmp_path / "runs" / "relative") == [2]


def test_threads_and_descriptors_do_not_grow(tmp_path):
  """However many checkpoints are written."""
  checkpoints = Checkpoints(tmp_path / "checkpoints", keep=1, metric="top1")
  counts = []
  for step in range(1, 25):
    checkpoints.save(step, {"x": jnp.arange(3.0)}, {"n": step}, None)
    if step % 12 == 0:
      checkpoints.wait()
      counts.append((threading.active_count(), len(os.listdir("/proc/self/fd"))))
  checkpoints.close()
  (threads, descriptors), (threads_later, descriptors_later) = counts
  assert threads_later <= threads + 2 and descriptors_later <= descriptors + 4

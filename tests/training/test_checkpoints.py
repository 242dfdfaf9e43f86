"""Checkpoints by themselves."""

import contextlib
import os
import shutil
import threading
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_zoo.errors import DamageError, UserError
from cnn_zoo.training.checkpoints import Checkpoints
from cnn_zoo.training.loop import train
from tests.helpers import runner
from tests.helpers.damage import cut, flip_bit


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
  assert checkpoints.steps() == [6, 7, 8]
  assert checkpoints.best_step() == 6  # as good as step 2; the loop saves no metrics of equally good ones
  with pytest.raises(UserError, match=r"step=5 is not among the checkpoints .*; valid: 6, 7, 8"):
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


def test_a_flipped_bit_is_noticed(tmp_path):
  """Wherever it is in the file of arrays: what can be read is what was saved, and what cannot is named."""
  x = jax.random.normal(jax.random.key(0), (100, 100))
  state = {"x": x, "half": x.astype(jnp.bfloat16), "count": jnp.int32(7)}
  checkpoints = Checkpoints(tmp_path / "checkpoints", keep=2, metric="top1")
  for step in (1, 2):
    checkpoints.save(step, state, {"n": step}, {"top1": 0.5})
  checkpoints.wait()
  checkpoints.check(1)
  checkpoints.check(2)
  says = []
  for number in range(12):
    place = (number + 0.5) / 12
    file = flip_bit(tmp_path / "checkpoints" / "2" / "state", place)
    for read in (checkpoints.check, lambda step: checkpoints.restore(step, shapes(state))):
      with pytest.raises(DamageError, match=r"^step 2 is damaged: ") as error:
        read(2)
      says.append(str(error.value))
    assert flip_bit(file, place) == file
  checkpoints.check(2)
  checkpoints.check(1)
  assert not any("\n" in line for line in says)
  assert says.count("step 2 is damaged: x is not what was saved") >= 8
  checkpoints.close()


@pytest.mark.parametrize("left", [0.0, 0.5, None])
@pytest.mark.parametrize("item", ["state", "details", "digests", "metrics"])
def test_what_is_cut_or_missing_is_noticed(item, left, tmp_path):
  checkpoints = Checkpoints(tmp_path / "checkpoints", keep=2, metric="top1")
  state = {"x": jax.random.normal(jax.random.key(0), (100, 100))}
  checkpoints.save(1, state, {"text": str(os.urandom(1000))}, {"top1": 0.5})
  checkpoints.close()
  path = tmp_path / "checkpoints" / "1" / item
  if left is None:
    shutil.rmtree(path)
  else:
    cut(path, left)
  with (
    pytest.raises(DamageError, match=r"^(step 1|.*/checkpoints/1/metrics/metrics) is damaged"),
    contextlib.closing(Checkpoints(tmp_path / "checkpoints", keep=2, metric="top1", writable=False)) as checkpoints,
  ):
    checkpoints.check(1)


def test_changed_details_are_noticed(tmp_path):
  details = {"best": 0.5, "sizes": (1, 2), "none": None, "text": str(os.urandom(1000))}
  checkpoints = Checkpoints(tmp_path / "checkpoints", keep=2, metric="top1")
  checkpoints.save(1, {"x": jnp.arange(3.0)}, details, None)
  checkpoints.wait()
  assert checkpoints.details(1) == {**details, "sizes": [1, 2]}
  flip_bit(tmp_path / "checkpoints" / "1" / "details")
  with pytest.raises(DamageError, match=r"^step 1 is damaged: "):
    checkpoints.details(1)
  checkpoints.close()


def test_the_newest_whole_one(tmp_path):
  """Later ones are named, and set aside under names that are free."""
  state = {"x": jnp.arange(3.0)}
  checkpoints = Checkpoints(tmp_path / "checkpoints", keep=4, metric="top1")
  for step in range(1, 5):
    checkpoints.save(step, state, {"n": step}, None)
  checkpoints.wait()
  for step in (3, 4):
    shutil.rmtree(tmp_path / "checkpoints" / str(step) / "details")
  step, details, damage = checkpoints.newest_whole(checkpoints.details)
  assert (step, details, len(damage)) == (2, {"n": 2}, 2)
  assert damage[0].startswith("step 4 is damaged: ") and damage[1].startswith("step 3 is damaged: ")
  (tmp_path / "damaged" / "4").mkdir(parents=True)
  checkpoints.set_aside(2, tmp_path / "damaged")
  assert {path.name for path in (tmp_path / "damaged").iterdir()} == {"3", "4", "4.1"}
  assert checkpoints.steps() == [1, 2]
  checkpoints.save(3, state, {"n": 3}, None)
  checkpoints.wait()
  assert checkpoints.details(3) == {"n": 3}
  shutil.rmtree(tmp_path / "checkpoints" / "1" / "state")
  for step in (1, 2, 3):
    cut(tmp_path / "checkpoints" / str(step) / "digests")
  with pytest.raises(DamageError, match=r"is whole: step 3 is damaged: .*; step 2 is damaged: .*; step 1 is damaged: "):
    checkpoints.newest_whole(lambda step: checkpoints.restore(step, shapes(state)))
  checkpoints.close()

"""The compiled programs of training."""

import multiprocessing
import os
from pathlib import Path

import jax
import pytest
from ml_collections import ConfigDict

from cnn_zoo import data
from cnn_zoo.errors import UserError
from cnn_zoo.training.mesh import create_mesh
from cnn_zoo.training.programs import Programs, enable_compilation_cache
from tests.helpers import runner


def test_an_input_that_is_too_small_names_the_layer_and_the_least_size():
  config = runner.load("vgg11", **{"data.image_size": 20})
  programs = Programs(config, create_mesh())
  with pytest.raises(UserError) as error:
    programs.compile_train_step()
  assert str(error.value) == (
    "config.data.image_size=20 is too small for config.model.name='vgg11': nothing would be left for pooling in layer "
    "stages.4; valid: config.data.image_size of at least 32"
  )


def enable_cache(folder, capfd):
  """(the folder that JAX uses, what stderr says)."""
  before = jax.config.jax_compilation_cache_dir
  try:
    enable_compilation_cache(ConfigDict({"compilation_cache": str(folder)}))
    return jax.config.jax_compilation_cache_dir, capfd.readouterr().err
  finally:
    jax.config.update("jax_compilation_cache_dir", before)


def test_the_compilation_cache_is_private(tmp_path, capfd):
  folder = tmp_path / "a" / "cache"
  assert enable_cache(folder, capfd) == (str(folder), "")
  assert folder.stat().st_mode & 0o777 == 0o700
  (folder / "entry").touch()
  folder.chmod(0o755)  # as it was made before; others can read it, not write
  assert enable_cache(folder, capfd) == (str(folder), "")
  assert enable_cache("gs://bucket/cache", capfd) == ("gs://bucket/cache", "")


@pytest.mark.parametrize("mode", [0o777, 0o720, 0o702, 0o1777])
def test_a_compilation_cache_that_others_can_write_is_not_used(mode, tmp_path, capfd):
  tmp_path.chmod(mode)
  assert enable_cache(tmp_path, capfd) == (
    None,
    f"config.compilation_cache='{tmp_path}' is not used: other users can write into it; valid: a private folder "
    "(chmod 700), or ''\n",
  )


def test_a_compilation_cache_of_another_user_is_not_used(tmp_path, capfd, monkeypatch):
  (tmp_path / "entry").touch()
  user, owners = os.getuid(), {"folder": 1, "entry": 0}
  stat = os.stat_result

  class Entry:
    name = "entry"

    def stat(self, follow_symlinks):
      assert not follow_symlinks
      return stat((0o600, 0, 0, 1, user + owners["entry"], 0, 0, 0, 0, 0))

  monkeypatch.setattr(Path, "stat", lambda path, **_: stat((0o40700, 0, 0, 1, user + owners["folder"], 0, 0, 0, 0, 0)))
  monkeypatch.setattr(os, "scandir", lambda path: [Entry()])
  used, says = enable_cache(tmp_path, capfd)
  assert used is None and says.endswith(" is not used: another user owns it; valid: a folder of your own, or ''\n")
  owners.update(folder=0, entry=1)
  used, says = enable_cache(tmp_path, capfd)
  assert used is None and "is not used: another user owns entry in it; valid: a folder of your own" in says


def test_a_compilation_cache_that_cannot_be_made_is_not_used(tmp_path, capfd):
  (tmp_path / "file").touch()
  used, says = enable_cache(tmp_path / "file" / "cache", capfd)
  assert used is None and says.endswith("/file/cache' is not used: Not a directory\n") and says.count("\n") == 1


def evaluating(monkeypatch, **fields):
  """(programs, weights, dataset, calls) of LeNet-5, where `calls` lists how the batches of evaluations were opened."""
  config = runner.load("lenet5", **fields)
  programs, calls = Programs(config, create_mesh()), []
  open_batches = data.evaluation_batches

  def opened(*arguments, **options):
    calls.append((options["split"], options["batch_size"]))
    assert options["batch_size"] <= 360, "more than any set has"
    return open_batches(*arguments, **options)

  monkeypatch.setattr(data, "evaluation_batches", opened)
  weights = {"params": programs.network.params, "batch_stats": programs.network.batch_stats}
  return programs, weights, data.open_dataset(config.data), calls


def test_an_evaluation_batch_is_never_larger_than_the_set(monkeypatch):
  programs, weights, dataset, calls = evaluating(monkeypatch, **{"eval.batch_size": 1_000_000})
  huge = programs.evaluate(weights, dataset, "test")
  programs.evaluate(weights, dataset, "validation")  # of fewer examples, by the same compiled program
  assert calls == [("test", 360), ("validation", 360)]
  programs, weights, dataset, calls = evaluating(monkeypatch, **{"eval.batch_size": 100})
  assert programs.evaluate(weights, dataset, "test") == pytest.approx(huge, rel=1e-6)
  assert calls == [("test", 100)]


def test_workers_start_once_for_all_evaluations_of_a_split(monkeypatch):
  programs, weights, dataset, calls = evaluating(monkeypatch, **{"data.workers": 1})
  others = set(multiprocessing.active_children())
  first = programs.evaluate(weights, dataset, "test")
  workers = set(multiprocessing.active_children()) - others
  assert len(workers) == 1
  assert programs.evaluate(weights, dataset, "test") == first
  assert set(multiprocessing.active_children()) - others == workers and calls == [("test", 256)]
  programs.close()
  assert set(multiprocessing.active_children()) == others

"""The compiled programs of training."""

import multiprocessing

import pytest

from cnn_zoo import data
from cnn_zoo.errors import UserError
from cnn_zoo.training.mesh import create_mesh
from cnn_zoo.training.programs import Programs
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

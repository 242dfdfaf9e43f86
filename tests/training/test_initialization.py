"""Runs that start from the weights of others (config.init)."""

import shutil

import jax
import numpy as np
import pytest
from flax import nnx

from cnn_zoo.errors import UserError
from cnn_zoo.models import create_model
from cnn_zoo.pretrained.inflation import inflate_weights
from cnn_zoo.training.checkpoints import Checkpoints
from cnn_zoo.training.initialization import _is_classifier, load_initial_weights
from cnn_zoo.training.loop import train
from cnn_zoo.training.mesh import create_mesh
from cnn_zoo.training.network import Network
from cnn_zoo.training.programs import Programs
from tests.helpers import runner
from tests.helpers.damage import flip_bits


def equal(a, b):
  return all(np.array_equal(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))


def save(workdir, model, config=None):
  """A checkpoint of the weights of `model` alone, as scripts/import_weights.py writes it."""
  network = Network(model)
  checkpoints = Checkpoints(workdir / "checkpoints", keep=1, metric="top1")
  details = {"config": (config or runner.load("lenet5")).to_dict(), "imported": {"weights": "a.pth", "source": "timm"}}
  checkpoints.save(0, {"params": network.params, "batch_stats": network.batch_stats}, details, None)
  checkpoints.close()
  return network


def test_a_run_starts_from_the_averaged_weights_of_another(whole_run, tmp_path, capfd):
  """A step of a learning rate of zero leaves them as they are. Resuming does not need the other run any more."""
  other = tmp_path / "other"
  shutil.copytree(whole_run, other)
  fields = {"init": str(other), "optimizer.learning_rate": 0.0, "optimizer.name": "sgd"}
  config = runner.load("lenet5", **fields, steps=2, **{"checkpoint.every_steps": 1})
  train(config, tmp_path / "run")
  assert f"starting from the weights of step 90 in {other}\n" in capfd.readouterr().err
  expected = runner.saved_state(whole_run, runner.load("lenet5", **runner.UNEVEN)).ema["params"]
  assert equal(runner.saved_state(tmp_path / "run", config).params, expected)

  shutil.rmtree(other)
  shutil.rmtree(tmp_path / "run" / "checkpoints" / "2")
  train(config, tmp_path / "run")
  assert "resuming from step 1 of 2" in capfd.readouterr().err
  assert equal(runner.saved_state(tmp_path / "run", config).params, expected)


def test_averages_start_from_the_weights(tmp_path):
  """And everything but weights is new."""
  saved = save(tmp_path, create_model("lenet5", num_classes=10, in_channels=1, rngs=nnx.Rngs(5)))
  config = runner.load("lenet5", init=str(tmp_path), ema_decay=0.9)
  programs = Programs(config, create_mesh())
  random = programs.initial_state()
  assert load_initial_weights(programs, config) == f"starting from the weights of a.pth (timm) in {tmp_path}"
  state = programs.initial_state()
  assert equal(state.params, saved.params) and equal(state.ema["params"], saved.params)
  assert not equal(random.params, saved.params) and equal(state.optimizer, random.optimizer) and state.step == 0


def test_batch_statistics_come_too(tmp_path):
  """And a model with another epsilon, which is in no tensor, is reported."""
  fields = {"model.width": 0.25, "model.depth": 0.3}
  options = {"width": 0.25, "depth": 0.3, "num_classes": 10, "in_channels": 1}
  model = create_model("efficientnet_b0", **options, rngs=nnx.Rngs(5))
  model.stem.norm.mean.set_value(model.stem.norm.mean[...] + 3)
  other = {"model.epsilon": 0.01, "model.dropout_rate": 0.5}
  saved = save(tmp_path, model, runner.load("efficientnet_b0", **fields, **other))
  config = runner.load("efficientnet_b0", init=str(tmp_path), **fields)
  programs = Programs(config, create_mesh())
  says = load_initial_weights(programs, config)
  assert says.endswith(f"(timm) in {tmp_path}; they were made for config.model.epsilon=0.01")
  state = programs.initial_state()
  assert equal(state.params, saved.params) and equal(state.batch_stats, saved.batch_stats)


def test_another_number_of_classes(tmp_path):
  saved = save(tmp_path, create_model("lenet5", num_classes=7, in_channels=1, rngs=nnx.Rngs(5)))
  config = runner.load("lenet5", init=str(tmp_path))
  programs = Programs(config, create_mesh())
  random = programs.network.params
  says = load_initial_weights(programs, config)
  assert says.endswith(", except output.bias and output.kernel: re-initialised for 10 classes instead of 7")
  params = programs.network.params
  assert equal(params["output"], random["output"])
  assert all(equal(params[layer], saved.params[layer]) for layer in params if layer != "output")


def test_kernels_of_images_are_inflated_for_clips(tmp_path):
  """And a classifier of other classes is re-initialised."""
  options = {"width": 0.25, "depth": 0.3, "in_channels": 1}
  model = create_model("efficientnet_b0", num_classes=7, **options, rngs=nnx.Rngs(5))
  model.stem.norm.mean.set_value(model.stem.norm.mean[...] + 3)
  save(tmp_path, model)
  deep = create_model("efficientnet_b0", num_classes=7, rank=3, **options, rngs=nnx.Rngs(6))
  inflate_weights(model, deep)
  expected = Network(deep)
  fields = {"model.width": 0.25, "model.depth": 0.3, "model.rank": 3}
  config = runner.load("efficientnet_b0", init=str(tmp_path), **fields)
  programs = Programs(config, create_mesh())
  random = programs.network.params["classifier"]
  says = load_initial_weights(programs, config)
  kernels = sum(x.ndim == 5 for x in jax.tree.leaves(expected.params))
  assert says == (
    f"starting from the weights of a.pth (timm) in {tmp_path}, {kernels} kernels of images repeated along time, except "
    "classifier.bias and classifier.kernel: re-initialised for 10 classes instead of 7"
  )
  state = programs.initial_state()
  assert equal(state.batch_stats, expected.batch_stats)
  assert equal(state.params, {**expected.params, "classifier": random})


@pytest.mark.parametrize(
  ("ranks", "says"),
  [
    ((3, 2), r"does not fit this model \(c1.kernel: \(5, 5, 5, 1, 6\) -> \(5, 5, 1, 6\); .*\)"),  # clips to images
    ((1, 2), r"does not fit this model \(c1.kernel: \(5, 1, 6\) -> \(5, 5, 1, 6\); .*\)"),
    ((1, 3), r"does not fit this model \(c1.kernel: \(5, 1, 6\) -> \(5, 5, 5, 1, 6\); .*\)"),
  ],
)
def test_other_ranks_are_refused(ranks, says, tmp_path):
  save(tmp_path, create_model("lenet5", num_classes=10, in_channels=1, rank=ranks[0], rngs=nnx.Rngs(5)))
  config = runner.load("lenet5", init=str(tmp_path), **{"model.rank": ranks[1]})
  with pytest.raises(UserError, match=says) as error:
    load_initial_weights(Programs(config, create_mesh()), config)
  assert "\n" not in str(error.value)


@pytest.mark.parametrize(
  ("options", "says"),
  [
    ({"in_channels": 3}, r"does not fit this model \(c1.kernel: \(5, 5, 3, 6\) -> \(5, 5, 1, 6\)\)"),
    ({"name": "lenet_maxpool"}, r"does not fit this model \(.*: none -> .* and \d+ more\)"),
  ],
)
def test_another_model(options, says, tmp_path):
  name = options.pop("name", "lenet5")
  save(tmp_path, create_model(name, **{"num_classes": 10, "in_channels": 1, **options}, rngs=nnx.Rngs(5)))
  config = runner.load("lenet5", init=str(tmp_path))
  with pytest.raises(UserError, match=says) as error:
    train(config, tmp_path / "run")
  assert "\n" not in str(error.value) and not list((tmp_path / "run" / "checkpoints").iterdir())


@pytest.mark.parametrize(
  ("own", "saved", "differs"),
  [
    ((8, 11), (8, 21), True),
    ((11,), (21,), True),
    ((4, 4, 11, 11), (4, 4, 21, 21), True),  # FCN's enlargement of its scores
    ((4, 4, 11, 11), (2, 2, 21, 21), False),
    ((16, 11), (8, 21), False),
    ((11, 64), (21, 64), False),
    ((8, 12), (8, 21), False),
    ((8, 11), None, False),
  ],
)
def test_tensors_of_another_number_of_classes(own, saved, differs):
  assert _is_classifier(own, saved, 11) == differs


def test_no_checkpoint(tmp_path):
  with pytest.raises(UserError, match=r"config.init='nowhere' holds no checkpoints; valid: the folder of a run"):
    train(runner.load("lenet5", init="nowhere"), tmp_path / "run")
  (tmp_path / "checkpoints").mkdir()
  with pytest.raises(UserError, match="holds no checkpoint yet"):
    train(runner.load("lenet5", init=str(tmp_path)), tmp_path / "run")


def test_a_damaged_checkpoint(whole_run, tmp_path):
  """The newest whole one is used, which is said."""
  shutil.copytree(whole_run, tmp_path / "other")
  flip_bits(tmp_path / "other" / "checkpoints" / "90" / "state")
  programs = Programs(runner.load("lenet5", init=str(tmp_path / "other")), create_mesh())
  line = load_initial_weights(programs, runner.load("lenet5", init=str(tmp_path / "other")))
  step = runner.saved_steps(whole_run)[-2]
  assert line.startswith("warning: step 90 is damaged: ")
  assert line.endswith(f"; starting from the weights of step {step} in {tmp_path / 'other'}")
  expected = runner.saved_state(whole_run, runner.load("lenet5", **runner.UNEVEN), step).ema["params"]
  assert equal(programs.network.params, expected)

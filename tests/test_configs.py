"""Every configuration describes a model that can be built, and each family's trains on its embedded data."""

import importlib

import jax
import numpy as np
import pytest
from flax import nnx

from cnn_zoo import command_line, convolutions, data
from cnn_zoo.benchmarks.config_trials import select_configs
from cnn_zoo.models import abstract_model
from cnn_zoo.training.mesh import create_mesh
from cnn_zoo.training.programs import Programs
from cnn_zoo.training.settings import check
from cnn_zoo.training.step import make_train_step
from configs import base, resnet50
from tests.helpers import ROOT, runner
from tests.helpers.model_checks import QUICK

CONFIGS = [path.stem for path in select_configs(ROOT / "configs")]
WIDE = ("vgg11_bn", "resnet18")  # whose steps would take longer than their compilation

# One member of each family, as small as its options allow. FCN, DeepLab and the video ResNets, which are made of the
# layers of VGG and ResNet, take too long to compile: scripts/try_configs.py is for them.
FAMILIES = {
  "lenet5": {},
  "alexnet": {"model.hidden_features": 32},
  "vgg11_bn": {"model.hidden_features": 32, "model.dropout_rate": 0.0},
  "googlenet": {},
  "resnet18": {},
  "densenet121": {"model.growth_rate": 4},
  "mobilenet_v1": {"model.width": 0.25},
  "mobilenet_v2": {"model.width": 0.25},
  "xception": {"model.middle_blocks": 0},
  "efficientnet_b0": {"model.width": 0.25, "model.depth": 0.1},
  "efficientnet_v2_s": {"model.width": 0.25, "model.depth": 0.1},
  "convnext_tiny": {"model.channels": (16, 32, 64, 64), "model.blocks": (1, 1, 1, 1)},
  "m5": {"data.samples": 2000},
  "c3d": {"data.image_size": 16, "model.width": 0.0625},
  "unet": {"model.features": 4, "model.depth": 2, "data.image_size": 32},
}


@pytest.mark.parametrize("name", CONFIGS)
def test_config(name):
  """It loads, its settings mean something, its task fits its data, and its model, of as many axes, can be built."""
  config = runner.load(name)
  check(config)
  info = data.dataset_info(config.data, prepared=False)
  options = config.model.to_dict()
  assert options["name"] == name and config.data.name in ("digits", "waveforms", "moving_digits", "digit_scenes")
  model = abstract_model(options.pop("name"), num_classes=info.num_classes, in_channels=info.channels, **options)
  axes = max(p.ndim for p in jax.tree.leaves(nnx.state(model, nnx.Param))) - 2  # of the kernels; two are channels
  assert axes == len(data.input_shape(config.data, info)) - 1


def config_for(name, argument):
  return command_line.load_config(str(ROOT / "configs" / f"{name}.py") + f":{argument}")


@pytest.mark.parametrize("name", CONFIGS)
def test_recipes(name):
  """Every recipe gives settings that mean something; CIFAR has one of its own wherever there is one for digits."""
  datasets = {spec.recipe or name: name for name, spec in data.SPECS.items()}
  embedded = runner.load(name)
  recipes = importlib.import_module(f"configs.{name}").get_config.recipes
  assert set(recipes) <= set(datasets)
  for recipe in recipes:
    config = config_for(name, datasets[recipe])
    check(config)
    assert config.task == embedded.task and config.model.name == name
  if "digits" in recipes:
    cifar = config_for(name, "cifar10")
    assert (cifar.epochs, cifar.batch_size) != (embedded.epochs, embedded.batch_size)
    assert config_for(name, "cifar100").optimizer == cifar.optimizer


def test_choice_of_a_recipe():
  """By the dataset; the first where there is none for it; or as the command line says."""
  plain = config_for("resnet18", "imagenette")
  assert (plain.data.image_size, plain.epochs, plain.optimizer.name) == (224, 10.0, "adamw")
  chosen = config_for("resnet18", "imagenette,recipe=imagenet")
  assert (chosen.data.image_size, chosen.epochs, chosen.optimizer.name) == (224, 120.0, "sgd")
  assert config_for("zfnet", "imagenet").epochs == 70.0 and config_for("alexnet", "imagenet").epochs == 90.0
  assert config_for("lenet_maxpool", "mnist").optimizer.name == "sgd"
  assert base.sibling("resnet18", of=resnet50)() == runner.load("resnet18", compilation_cache="~/.cache/cnn_zoo")


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_trains(name):
  """Six steps on one batch, at the configuration's learning rate: the loss is finite and falls."""
  config = runner.load(name, batch_size=8, **FAMILIES[name])
  programs = Programs(config, create_mesh())
  batches = data.train_batches(data.open_dataset(config.data), config.data, seed=0, batch_size=config.batch_size)
  batch = next(batches)
  batches.close()
  train_step = make_train_step(programs.network, programs.task, config, programs.dtype)
  train_step = jax.jit(train_step, compiler_options={} if name in WIDE else QUICK)
  state, sums = programs.initial_state(), [0.0]
  with convolutions.lowering("lax"):  # compiles faster still
    for _ in range(6):
      state = train_step(state, np.uint32(0), batch, np.float32(config.optimizer.learning_rate))
      sums.append(float(state.metrics["loss"]))
  losses = np.diff(sums)
  assert np.isfinite(losses).all()
  assert losses[-1] < losses[0]

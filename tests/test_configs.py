"""Every configuration describes a model that can be built, and each family's trains on its embedded data."""

import jax
import numpy as np
import pytest
from flax import nnx

from cnn_zoo import convolutions, data
from cnn_zoo.benchmarks.config_trials import select_configs
from cnn_zoo.models import abstract_model
from cnn_zoo.training.mesh import create_mesh
from cnn_zoo.training.programs import Programs
from cnn_zoo.training.setup import check_settings, check_task
from cnn_zoo.training.step import make_gradient, make_update
from tests.helpers import ROOT, runner

CONFIGS = [path.stem for path in select_configs(ROOT / "configs")]
QUICK = {"xla_backend_optimization_level": 0}  # compiles twice as fast, but runs slower
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
  check_settings(config)
  info = data.dataset_info(config.data, prepared=False)
  check_task(config, info)
  options = config.model.to_dict()
  assert options["name"] == name and config.data.name in ("digits", "waveforms", "moving_digits", "digit_scenes")
  model = abstract_model(options.pop("name"), num_classes=info.num_classes, in_channels=info.channels, **options)
  axes = max(p.ndim for p in jax.tree.leaves(nnx.state(model, nnx.Param))) - 2  # of the kernels; two are channels
  assert axes == len(data.input_shape(config.data, info)) - 1


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_trains(name):
  """Six steps on one batch, at the configuration's learning rate: the loss is finite and falls."""
  config = runner.load(name, batch_size=8, **FAMILIES[name])
  programs = Programs(config, create_mesh())
  batches = data.train_batches(data.open_dataset(config.data), config.data, seed=0, batch_size=config.batch_size)
  batch = next(batches)
  batches.close()
  gradient = make_gradient(programs.network, programs.task, config, programs.dtype)
  options = {} if name in WIDE else QUICK
  gradient, update = (jax.jit(step, compiler_options=options) for step in (gradient, make_update(config)))
  state, losses = programs.initial_state(), []
  with convolutions.lowering("lax"):  # compiles faster still
    for _ in range(6):
      grads, batch_stats, sums = gradient(state.params, state.batch_stats, np.uint32(0), state.step, batch)
      state = update(state, grads, batch_stats, sums, config.optimizer.learning_rate)
      losses.append(float(sums["loss"] / sums["count"]))
  assert np.isfinite(losses).all()
  assert losses[-1] < losses[0]

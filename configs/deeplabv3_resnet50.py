"""DeepLabv3 on a dilated ResNet-50 (Chen et al. 2017); FCN on the same differs by the name, deeper ones likewise."""

from configs import base


def get_config(dataset="digit_scenes", model="deeplabv3_resnet50"):
  """On the embedded scenes: slow, to try it. On oxford_iiit_pet: the paper's rate and batch (section 4) on a cosine.

  Start it from published weights: --config.init=DIR of scripts/import_weights.py.
  """
  config = base.get_config(model, dataset)
  config.model.aux_head = True  # as torchvision's weights have one
  config.eval.batch_size = 32
  if config.data.name != "oxford_iiit_pet":
    config.epochs = 4.0
    config.batch_size = 16
    config.optimizer.learning_rate = 1e-3
    config.optimizer.weight_decay = 0.05
    config.optimizer.clip_norm = 1.0
    config.schedule.warmup_epochs = 0.5
    return config

  config.epochs = 60.0
  config.batch_size = 16
  config.optimizer.name = "sgd"
  config.optimizer.learning_rate = 7e-3
  config.optimizer.momentum = 0.9
  config.optimizer.weight_decay = 1e-4
  config.data.workers = 8
  config.log_every_steps = 50
  return config

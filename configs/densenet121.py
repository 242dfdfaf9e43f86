"""DenseNet-121 (Huang et al. 2017); the other DenseNets differ by the name."""

from configs import base


def get_config(dataset="digits", model="densenet121"):
  """On digits: a few minutes. On ImageNet: the paper's recipe (section 4.2) with Inception's crops."""
  config = base.get_config(model, dataset)
  if config.data.name != "imagenet":
    config.epochs = 10.0
    config.batch_size = 64
    config.optimizer.learning_rate = 1e-3
    config.optimizer.weight_decay = 0.05
    config.optimizer.clip_norm = 1.0
    config.schedule.warmup_epochs = 2.0
    config.label_smoothing = 0.1
    return config

  config.batch_size = 256
  config.epochs = 90.0
  config.optimizer.name = "sgd"
  config.optimizer.learning_rate = 0.1
  config.optimizer.momentum = 0.9
  config.optimizer.weight_decay = 1e-4
  config.schedule.name = "step"
  config.schedule.decay_rate = 0.1
  config.schedule.decay_epochs = 30.0
  config.batch_norm.group_size = 32
  config.eval.every_epochs = 5.0
  config.eval.batch_size = 256
  config.data.workers = 16
  config.log_every_steps = 100
  return config

"""Xception (Chollet 2017)."""

from configs import base


def get_config(dataset="digits"):
  """On digits: minutes. On ImageNet: the paper's recipe (section 4.2)."""
  config = base.get_config("xception", dataset)
  if config.data.name != "imagenet":
    config.epochs = 8.0
    config.batch_size = 64
    config.optimizer.learning_rate = 1e-3
    config.optimizer.weight_decay = 0.05
    config.optimizer.clip_norm = 1.0
    config.schedule.warmup_epochs = 1.0
    config.batch_norm.momentum = 0.9
    config.label_smoothing = 0.1
    return config

  config.data.image_size = 299
  config.batch_size = 1920  # of 60 GPUs; how many examples each had is not in the paper
  config.epochs = 120.0  # nor is this: the rate has then fallen to 1/40
  config.optimizer.name = "sgd"
  config.optimizer.learning_rate = 0.045
  config.optimizer.momentum = 0.9
  config.optimizer.weight_decay = 1e-5
  config.schedule.name = "step"
  config.schedule.decay_rate = 0.94
  config.schedule.decay_epochs = 2.0
  config.ema_decay = 0.9999
  config.batch_norm.group_size = 32
  config.eval.every_epochs = 5.0
  config.eval.batch_size = 960
  config.data.workers = 16
  config.log_every_steps = 100
  return config

"""MobileNetV2 (Sandler et al. 2018)."""

from configs import base


def get_config(dataset="digits", model="mobilenet_v2"):
  """On digits: minutes. On ImageNet: the paper's recipe (section 6.1), each of whose 16 GPUs made steps of its own."""
  config = base.get_config(model, dataset)
  if config.data.name != "imagenet":
    config.epochs = 14.0
    config.batch_size = 64
    config.optimizer.learning_rate = 2e-3
    config.optimizer.weight_decay = 0.05
    config.optimizer.clip_norm = 1.0
    config.schedule.warmup_epochs = 2.0
    config.batch_norm.momentum = 0.9
    config.label_smoothing = 0.1
    return config

  config.batch_size = 96
  config.epochs = 300.0  # not in the paper: the rate has then fallen to 1/400
  config.optimizer.name = "rmsprop"
  config.optimizer.learning_rate = 0.045
  config.optimizer.momentum = 0.9
  config.optimizer.decay = 0.9
  config.optimizer.epsilon = 1.0
  config.optimizer.weight_decay = 4e-5
  config.schedule.name = "step"
  config.schedule.decay_rate = 0.98
  config.schedule.decay_epochs = 1.0
  config.eval.every_epochs = 5.0
  config.eval.batch_size = 960
  config.data.workers = 16
  config.log_every_steps = 100
  return config

"""ConvNeXt-T (Liu et al. 2022); the larger ones differ by the name."""

from configs import base


def get_config(dataset="digits", model="convnext_tiny"):
  """On digits: minutes. On ImageNet: the paper's recipe (Table 5) as far as settings go."""
  config = base.get_config(model, dataset)
  config.optimizer.weight_decay = 0.05
  config.label_smoothing = 0.1
  if config.data.name != "imagenet":
    config.epochs = 10.0
    config.batch_size = 64
    config.optimizer.learning_rate = 2e-3
    config.optimizer.clip_norm = 1.0
    config.schedule.warmup_epochs = 2.0
    config.model.stochastic_depth_rate = 0.1
    return config

  config.batch_size = 4096
  config.epochs = 300.0
  config.optimizer.learning_rate = 4e-3
  config.schedule.warmup_epochs = 20.0
  config.ema_decay = 0.9999
  config.eval.every_epochs = 5.0
  config.eval.batch_size = 4096
  config.data.workers = 16
  config.log_every_steps = 100
  return config

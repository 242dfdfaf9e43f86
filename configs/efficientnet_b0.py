"""EfficientNet-B0 (Tan and Le 2019); B1 to B7 differ by the name and the resolution."""

from cnn_zoo.models import published_setting
from configs import base


def get_config(dataset="digits", model="efficientnet_b0", warmup_epochs=2.0):
  """On digits: over 98% in two minutes. On ImageNet: the paper's recipe (section 5.2) without AutoAugment.

  Args:
    dataset: what follows the colon in --config.
    model: one that is trained alike.
    warmup_epochs: not on ImageNet; the loss of deep networks rises while it lasts.
  """
  config = base.get_config(model, dataset)
  if config.data.name != "imagenet":
    config.epochs = 14.0
    config.batch_size = 64
    config.optimizer.learning_rate = 2e-3
    config.optimizer.weight_decay = 0.05
    config.optimizer.clip_norm = 1.0
    config.schedule.warmup_epochs = warmup_epochs
    config.batch_norm.momentum = 0.9
    config.model.stochastic_depth_rate = 0.1
    config.label_smoothing = 0.1
    return config

  config.data.image_size = published_setting(model).input_shape[0]
  config.batch_size = 4096
  config.epochs = 350.0
  config.optimizer.name = "rmsprop"
  config.optimizer.learning_rate = 0.256
  config.optimizer.momentum = 0.9
  config.optimizer.decay = 0.9
  config.optimizer.epsilon = 1e-3
  config.optimizer.weight_decay = 1e-5
  config.schedule.name = "step"
  config.schedule.decay_rate = 0.97
  config.schedule.decay_epochs = 2.4
  config.schedule.warmup_epochs = 5.0
  config.label_smoothing = 0.1
  config.ema_decay = 0.9999
  config.batch_norm.momentum = 0.99
  config.batch_norm.group_size = 64
  config.eval.every_epochs = 5.0
  config.eval.batch_size = 4096
  config.data.workers = 16
  config.log_every_steps = 100
  return config

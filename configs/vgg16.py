"""VGG-16 (Simonyan and Zisserman 2014); the other VGGs, with and without batch normalisation, differ by the name."""

from configs import base


def get_config(dataset="digits", model="vgg16"):
  """On digits: minutes, hidden layers of 512. On ImageNet: the paper's recipe (section 3.1) with Inception's crops."""
  config = base.get_config(model, dataset)
  if config.data.name != "imagenet":
    config.model.hidden_features = 512
    config.epochs = 12.0
    config.batch_size = 64
    config.optimizer.learning_rate = 5e-4
    config.optimizer.weight_decay = 0.01
    config.optimizer.clip_norm = 1.0
    config.schedule.warmup_epochs = 1.0
    return config

  config.batch_size = 256
  config.epochs = 74.0
  config.optimizer.name = "sgd"
  config.optimizer.learning_rate = 0.01
  config.optimizer.momentum = 0.9
  config.optimizer.weight_decay = 5e-4
  config.schedule.name = "step"
  config.schedule.decay_rate = 0.1
  config.schedule.decay_epochs = 20.0  # three times, as the paper did by hand
  config.batch_norm.group_size = 32
  config.eval.every_epochs = 5.0
  config.data.workers = 16
  config.log_every_steps = 100
  return config

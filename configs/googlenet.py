"""GoogLeNet (Szegedy et al. 2014), torchvision's, with auxiliary classifiers; the paper's differs by the name."""

from configs import base


def get_config(dataset="digits", model="googlenet"):
  """On digits: minutes. On ImageNet: the paper's recipe (section 6); the rest as in Caffe's replication."""
  config = base.get_config(model, dataset)
  config.model.aux_heads = True
  if config.data.name != "imagenet":
    config.epochs = 10.0
    config.batch_size = 64
    config.optimizer.learning_rate = 1e-3
    config.optimizer.weight_decay = 0.01
    config.optimizer.clip_norm = 1.0
    config.schedule.warmup_epochs = 2.0
    return config

  config.batch_size = 32
  config.epochs = 250.0
  config.optimizer.name = "sgd"
  config.optimizer.learning_rate = 0.01
  config.optimizer.momentum = 0.9
  config.optimizer.weight_decay = 2e-4
  config.schedule.name = "step"
  config.schedule.decay_rate = 0.96
  config.schedule.decay_epochs = 8.0
  config.eval.every_epochs = 5.0
  config.data.workers = 16
  config.log_every_steps = 100
  return config

"""LeNet with max-pooling (deeplearning.net's tutorial, 2010)."""

from configs import base


def get_config(dataset="digits"):
  """On digits: over 98% in seconds. On MNIST: the tutorial's recipe."""
  config = base.get_config("lenet_maxpool", dataset)
  config.data.image_size = 28
  if config.data.name != "mnist":
    config.epochs = 8.0
    config.batch_size = 64
    config.optimizer.learning_rate = 2e-3
    config.optimizer.weight_decay = 0.01
    config.schedule.warmup_epochs = 1.0
    return config

  config.data.shift = config.data.rotate = 0.0
  config.batch_size = 500
  config.epochs = 200.0
  config.optimizer.name = "sgd"
  config.optimizer.learning_rate = 0.1
  config.optimizer.momentum = 0.0
  config.schedule.name = "constant"
  config.eval.batch_size = 500
  return config

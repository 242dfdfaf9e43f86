"""AlexNet in one tower (Krizhevsky 2014); the one in two towers and ZFNet differ by the name and the resolution."""

from configs import base


def get_config(dataset="digits", model="alexnet", image_size=64, imagenet_size=224):
  """On digits: a minute, with hidden layers of 512. On ImageNet: the recipe of 2012 (section 5) with Inception's crops.

  Args:
    dataset: what follows the colon in --config.
    model: one that is trained alike.
    image_size: pixels a side that smaller images are enlarged to, the least that leaves a map.
    imagenet_size: pixels a side that the paper has.
  """
  config = base.get_config(model, dataset)
  if config.data.name != "imagenet":
    config.data.image_size = max(image_size, config.data.image_size)
    config.model.hidden_features = 512
    config.epochs = 15.0
    config.batch_size = 64
    config.optimizer.learning_rate = 5e-4
    config.optimizer.weight_decay = 0.01
    config.optimizer.clip_norm = 1.0
    config.schedule.warmup_epochs = 2.0
    return config

  config.data.image_size = imagenet_size
  config.batch_size = 128
  config.epochs = 90.0
  config.optimizer.name = "sgd"
  config.optimizer.learning_rate = 0.01
  config.optimizer.momentum = 0.9
  config.optimizer.weight_decay = 5e-4
  config.schedule.name = "step"
  config.schedule.decay_rate = 0.1
  config.schedule.decay_epochs = 25.0  # three times, as the paper did by hand
  config.eval.every_epochs = 5.0
  config.data.workers = 16
  config.log_every_steps = 100
  return config

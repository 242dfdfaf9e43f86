"""EfficientNet-B0 (Tan and Le 2019); B1 to B7 differ by the name and the resolution."""

from cnn_zoo.models import published_setting
from configs import base


def digits(config):
  """Over 98% in two minutes."""
  config.update(epochs=14.0, batch_size=64, label_smoothing=0.1)
  config.optimizer.update(learning_rate=2e-3, weight_decay=0.05, clip_norm=1.0)
  config.schedule.warmup_epochs = 2.0
  config.batch_norm.momentum = 0.9
  config.model.stochastic_depth_rate = 0.1


def cifar(config):
  """SGD, with the regularisation of the digits' recipe."""
  base.cifar(config)
  config.label_smoothing = 0.1
  config.batch_norm.momentum = 0.9
  config.model.stochastic_depth_rate = 0.1


def imagenet(config):
  """The paper's recipe (section 5.2) without AutoAugment."""
  config.data.update(image_size=published_setting(config.model.name).input_shape[0], workers=16)
  config.update(epochs=350.0, batch_size=4096, label_smoothing=0.1, ema_decay=0.9999, log_every_steps=100)
  config.optimizer.update(name="rmsprop", learning_rate=0.256, momentum=0.9, decay=0.9, epsilon=1e-3, weight_decay=1e-5)
  config.schedule.update(name="step", decay_rate=0.97, decay_epochs=2.4, warmup_epochs=5.0)
  config.batch_norm.update(momentum=0.99, group_size=64)
  config.eval.update(every_epochs=5.0, batch_size=4096)


get_config = base.experiment("efficientnet_b0", digits=digits, cifar=cifar, imagenet=imagenet)

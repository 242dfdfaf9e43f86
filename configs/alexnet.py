"""AlexNet in one tower (Krizhevsky 2014); the one in two towers and ZFNet differ by the name and the resolution."""

from configs import base


def digits(config):
  """A minute, with hidden layers of 512; images are enlarged to the least size that leaves a map."""
  config.data.image_size = max(64, config.data.image_size)
  config.model.hidden_features = 512
  config.update(epochs=15.0, batch_size=64)
  config.optimizer.update(learning_rate=5e-4, weight_decay=0.01, clip_norm=1.0)
  config.schedule.warmup_epochs = 2.0


def cifar(config):
  """AdamW, for there is no batch normalisation; image and hidden layers as for digits."""
  base.cifar_adamw(config)
  config.data.image_size = 64
  config.model.hidden_features = 512


def imagenet(config):
  """The recipe of 2012 (section 5) with Inception's crops."""
  config.data.update(image_size=224, workers=16)
  config.update(epochs=90.0, batch_size=128, log_every_steps=100)
  config.optimizer.update(name="sgd", learning_rate=0.01, momentum=0.9, weight_decay=5e-4)
  config.schedule.update(name="step", decay_rate=0.1, decay_epochs=25.0)  # three times, as the paper did by hand
  config.eval.every_epochs = 5.0


get_config = base.experiment("alexnet", digits=digits, cifar=cifar, imagenet=imagenet)

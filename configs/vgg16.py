"""VGG-16 (Simonyan and Zisserman 2014); the other VGGs, with and without batch normalisation, differ by the name."""

from configs import base


def digits(config):
  """Minutes, with hidden layers of 512."""
  config.model.hidden_features = 512
  config.update(epochs=12.0, batch_size=64)
  config.optimizer.update(learning_rate=5e-4, weight_decay=0.01, clip_norm=1.0)
  config.schedule.warmup_epochs = 1.0


def cifar(config):
  """AdamW, which trains both the networks with batch normalisation and those without."""
  base.cifar_adamw(config)
  config.model.hidden_features = 512


def imagenet(config):
  """The paper's recipe (section 3.1) with Inception's crops."""
  config.update(epochs=74.0, batch_size=256, log_every_steps=100)
  config.optimizer.update(name="sgd", learning_rate=0.01, momentum=0.9, weight_decay=5e-4)
  config.schedule.update(name="step", decay_rate=0.1, decay_epochs=20.0)  # three times, as the paper did by hand
  config.batch_norm.group_size = 32
  config.eval.every_epochs = 5.0
  config.data.workers = 16


get_config = base.experiment("vgg16", digits=digits, cifar=cifar, imagenet=imagenet)

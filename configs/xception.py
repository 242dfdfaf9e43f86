"""Xception (Chollet 2017)."""

from configs import base


def digits(config):
  """Minutes."""
  config.update(epochs=8.0, batch_size=64, label_smoothing=0.1)
  config.optimizer.update(learning_rate=1e-3, weight_decay=0.05, clip_norm=1.0)
  config.schedule.warmup_epochs = 1.0
  config.batch_norm.momentum = 0.9


def cifar(config):
  """SGD, with the running averages of the digits' recipe."""
  base.cifar(config)
  config.batch_norm.momentum = 0.9


def imagenet(config):
  """The paper's recipe (section 4.2); it had 60 GPUs and does not give the examples on each, nor the length."""
  config.data.update(image_size=299, workers=16)
  config.update(epochs=120.0, batch_size=1920, ema_decay=0.9999, log_every_steps=100)
  config.optimizer.update(name="sgd", learning_rate=0.045, momentum=0.9, weight_decay=1e-5)
  config.schedule.update(name="step", decay_rate=0.94, decay_epochs=2.0)  # at the end 1/40 of the rate
  config.batch_norm.group_size = 32
  config.eval.update(every_epochs=5.0, batch_size=960)


get_config = base.experiment("xception", digits=digits, cifar=cifar, imagenet=imagenet)

"""MobileNetV2 (Sandler et al. 2018)."""

from configs import base


def digits(config):
  """Minutes."""
  config.update(epochs=14.0, batch_size=64, label_smoothing=0.1)
  config.optimizer.update(learning_rate=2e-3, weight_decay=0.05, clip_norm=1.0)
  config.schedule.warmup_epochs = 2.0
  config.batch_norm.momentum = 0.9


def cifar(config):
  """SGD, with the paper's small weight decay: kernels of depthwise convolutions have few weights."""
  base.cifar(config)
  config.optimizer.weight_decay = 4e-5
  config.batch_norm.momentum = 0.9


def imagenet(config):
  """The paper's recipe (section 6.1), each of whose 16 GPUs made steps of its own."""
  config.update(epochs=300.0, batch_size=96, log_every_steps=100)  # the length is not in the paper
  config.optimizer.update(name="rmsprop", learning_rate=0.045, momentum=0.9, decay=0.9, epsilon=1.0, weight_decay=4e-5)
  config.schedule.update(name="step", decay_rate=0.98, decay_epochs=1.0)  # at the end 1/400 of the rate
  config.eval.update(every_epochs=5.0, batch_size=960)
  config.data.workers = 16


get_config = base.experiment("mobilenet_v2", digits=digits, cifar=cifar, imagenet=imagenet)

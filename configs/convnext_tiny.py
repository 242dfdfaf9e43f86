"""ConvNeXt-T (Liu et al. 2022); the larger ones differ by the name."""

from configs import base


def digits(config):
  """Minutes."""
  config.update(epochs=10.0, batch_size=64, label_smoothing=0.1)
  config.optimizer.update(learning_rate=2e-3, weight_decay=0.05, clip_norm=1.0)
  config.schedule.warmup_epochs = 2.0
  config.model.stochastic_depth_rate = 0.1


def cifar(config):
  """AdamW, as in the paper, at the batch size of CIFAR."""
  base.cifar_adamw(config)
  config.update(epochs=200.0, label_smoothing=0.1)
  config.optimizer.learning_rate = 1e-3
  config.model.stochastic_depth_rate = 0.1


def imagenet(config):
  """The paper's recipe (Table 5) as far as there are settings for it."""
  config.update(epochs=300.0, batch_size=4096, label_smoothing=0.1, ema_decay=0.9999, log_every_steps=100)
  config.optimizer.update(learning_rate=4e-3, weight_decay=0.05)
  config.schedule.warmup_epochs = 20.0
  config.eval.update(every_epochs=5.0, batch_size=4096)
  config.data.workers = 16


get_config = base.experiment("convnext_tiny", digits=digits, cifar=cifar, imagenet=imagenet)

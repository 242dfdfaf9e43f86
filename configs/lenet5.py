"""LeNet-5 (LeCun et al. 1998)."""

from configs import base


def digits(config):
  """Over 98% in seconds."""
  config.data.image_size = 32
  config.update(epochs=8.0, batch_size=64)
  config.optimizer.update(learning_rate=4e-3, weight_decay=0.01)
  config.schedule.warmup_epochs = 2.0


def cifar(config):
  """AdamW, for there is no batch normalisation, at a rate for a small network."""
  base.cifar_adamw(config)
  config.optimizer.update(learning_rate=2e-3, weight_decay=0.01)


get_config = base.experiment("lenet5", digits=digits, cifar=cifar)

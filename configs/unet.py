"""U-Net (Ronneberger, Fischer and Brox 2015)."""

from configs import base


def get_config(dataset="digit_scenes"):
  """On the embedded scenes: minutes, a quarter as wide and three levels deep. On oxford_iiit_pet: the whole network."""
  config = base.get_config("unet", dataset)
  config.optimizer.clip_norm = 1.0
  config.optimizer.weight_decay = 0.01
  config.schedule.warmup_epochs = 1.0
  if config.data.name != "oxford_iiit_pet":
    config.model.features = 16
    config.model.depth = 3
    config.epochs = 16.0
    config.batch_size = 16
    config.optimizer.learning_rate = 3e-3
    config.eval.batch_size = 100
    return config

  config.epochs = 60.0
  config.batch_size = 32
  config.optimizer.learning_rate = 1e-3
  config.batch_norm.group_size = 8
  config.eval.batch_size = 64
  config.data.workers = 8
  config.log_every_steps = 50
  return config

"""U-Net (Ronneberger, Fischer and Brox 2015)."""

from configs import base


def scenes(config):
  """On the embedded scenes: minutes, a quarter as wide and three levels deep."""
  config.model.update(features=16, depth=3)
  config.update(epochs=16.0, batch_size=16)
  config.optimizer.update(learning_rate=3e-3, weight_decay=0.01, clip_norm=1.0)
  config.schedule.warmup_epochs = 1.0
  config.eval.batch_size = 100


def pets(config):
  """On Oxford-IIIT Pet: the whole network."""
  config.update(epochs=60.0, batch_size=32, log_every_steps=50)
  config.optimizer.update(learning_rate=1e-3, weight_decay=0.01, clip_norm=1.0)
  config.schedule.warmup_epochs = 1.0
  config.batch_norm.group_size = 8
  config.eval.batch_size = 64
  config.data.workers = 8


get_config = base.experiment("unet", scenes=scenes, pets=pets)

"""FCN-8s on VGG-16 (Long, Shelhamer and Darrell 2015); FCN-16s and FCN-32s differ by the name."""

from configs import base


def scenes(config):
  """On the embedded scenes: fc6 and fc7 of 256 channels."""
  config.model.hidden_features = 256
  config.update(epochs=8.0, batch_size=32)
  config.optimizer.update(learning_rate=5e-4, weight_decay=0.01, clip_norm=1.0)
  config.schedule.warmup_epochs = 1.0
  config.eval.batch_size = 64


def pets(config):
  """On Oxford-IIIT Pet: the whole network, from scratch."""
  config.update(epochs=60.0, batch_size=20, log_every_steps=50)
  config.optimizer.update(learning_rate=1e-4, weight_decay=0.01, clip_norm=1.0)
  config.schedule.warmup_epochs = 1.0
  config.eval.batch_size = 64
  config.data.workers = 8


get_config = base.experiment("fcn8s", scenes=scenes, pets=pets)

"""FCN-8s on VGG-16 (Long, Shelhamer and Darrell 2015); FCN-16s and FCN-32s differ by the name."""

from configs import base


def get_config(dataset="digit_scenes", model="fcn8s"):
  """On the embedded scenes: fc6 and fc7 of 256 channels. On oxford_iiit_pet: the whole network, from scratch."""
  config = base.get_config(model, dataset)
  config.optimizer.clip_norm = 1.0
  config.optimizer.weight_decay = 0.01
  config.schedule.warmup_epochs = 1.0
  config.eval.batch_size = 64
  if config.data.name != "oxford_iiit_pet":
    config.model.hidden_features = 256
    config.epochs = 8.0
    config.batch_size = 32
    config.optimizer.learning_rate = 5e-4
    return config

  config.epochs = 60.0
  config.batch_size = 20
  config.optimizer.learning_rate = 1e-4
  config.data.workers = 8
  config.log_every_steps = 50
  return config

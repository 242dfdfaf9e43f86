"""C3D (Tran et al. 2015); --config.model.view=frame, stack or clip are the three ways of looking at a video."""

from configs import base


def get_config(dataset="moving_digits"):
  """On the embedded moving digits: minutes, an eighth as wide, normalised. On ucf101: the recipe of section 3.1."""
  config = base.get_config("c3d", dataset)
  config.model.view = "clip"
  config.model.frames = config.data.frames
  if config.data.name != "ucf101":
    config.model.width = 0.125
    config.model.batch_norm = True
    config.model.hidden_features = 128
    config.model.dropout_rate = 0.2
    config.epochs = 4.0
    config.batch_size = 32
    config.optimizer.learning_rate = 5e-4  # fc6 sees the one cell that is left of 32 x 32 pixels sixteen times over
    config.optimizer.weight_decay = 0.05
    config.optimizer.clip_norm = 1.0
    config.schedule.warmup_epochs = 1.0
    return config

  config.batch_size = 30
  config.epochs = 16.0
  config.optimizer.name = "sgd"
  config.optimizer.learning_rate = 3e-3
  config.optimizer.momentum = 0.9
  config.optimizer.weight_decay = 5e-4
  config.schedule.name = "step"
  config.schedule.decay_rate = 0.1
  config.schedule.decay_epochs = 4.0
  config.eval.batch_size = 60
  config.data.workers = 8
  config.log_every_steps = 100
  return config

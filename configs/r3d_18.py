"""R3D-18 (Tran et al. 2018); MC3-18 and R(2+1)D-18 differ by the name."""

from configs import base


def get_config(dataset="moving_digits", model="r3d_18"):
  """On the embedded moving digits: a few slow epochs. On ucf101: the rate for Kinetics (section 4.1) on a cosine."""
  config = base.get_config(model, dataset)
  if config.data.name != "ucf101":
    config.epochs = 3.0
    config.batch_size = 32
    config.optimizer.learning_rate = 1e-3
    config.optimizer.weight_decay = 0.05
    config.optimizer.clip_norm = 1.0
    config.schedule.warmup_epochs = 0.5
    return config

  config.batch_size = 32
  config.epochs = 45.0
  config.optimizer.name = "sgd"
  config.optimizer.learning_rate = 0.01
  config.optimizer.momentum = 0.9
  config.optimizer.weight_decay = 1e-4
  config.schedule.warmup_epochs = 10.0  # then the paper divides by 10 every 10 epochs
  config.eval.batch_size = 64
  config.data.workers = 8
  config.log_every_steps = 100
  return config

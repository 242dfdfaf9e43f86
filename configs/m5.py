"""M5 (Dai et al. 2016); the other M networks differ by the name."""

from configs import base


def get_config(dataset="waveforms", model="m5"):
  """On the embedded waveforms: minutes. On speech_commands: seconds of sound at 16 kHz, where the paper has 8 kHz.

  The paper trains with Adam and an L2 penalty of 1e-4 until the network has converged (section 3); here the rate falls
  along a cosine and the decay is decoupled.
  """
  config = base.get_config(model, dataset)
  config.optimizer.learning_rate = 2e-3
  config.optimizer.clip_norm = 1.0
  config.schedule.warmup_epochs = 1.0
  if config.data.name != "speech_commands":
    config.epochs = 12.0
    config.batch_size = 64
    config.optimizer.weight_decay = 0.05
    return config

  config.epochs = 40.0
  config.batch_size = 256
  config.optimizer.weight_decay = 1e-2
  config.batch_norm.group_size = 32
  config.eval.batch_size = 1024
  config.data.workers = 8
  config.log_every_steps = 100
  return config

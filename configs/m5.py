"""M5 (Dai et al. 2016); the other M networks differ by the name.

The paper trains with Adam and an L2 penalty of 1e-4 until the network has converged (section 3); here the rate falls
along a cosine and the decay is decoupled.
"""

from configs import base


def waveforms(config):
  """On the embedded waveforms: minutes."""
  config.update(epochs=12.0, batch_size=64)
  config.optimizer.update(learning_rate=2e-3, weight_decay=0.05, clip_norm=1.0)
  config.schedule.warmup_epochs = 1.0


def speech(config):
  """On Speech Commands: seconds of sound at 16 kHz, where the paper has 8 kHz."""
  config.update(epochs=40.0, batch_size=256, log_every_steps=100)
  config.optimizer.update(learning_rate=2e-3, weight_decay=1e-2, clip_norm=1.0)
  config.schedule.warmup_epochs = 1.0
  config.batch_norm.group_size = 32
  config.eval.batch_size = 1024
  config.data.workers = 8


get_config = base.experiment("m5", waveforms=waveforms, speech=speech)

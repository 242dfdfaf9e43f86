"""R3D-18 (Tran et al. 2018); MC3-18 and R(2+1)D-18 differ by the name."""

from configs import base


def clips(config):
  """On the embedded moving digits: a few slow epochs."""
  config.update(epochs=3.0, batch_size=32)
  config.optimizer.update(learning_rate=1e-3, weight_decay=0.05, clip_norm=1.0)
  config.schedule.warmup_epochs = 0.5


def actions(config):
  """On UCF-101: the rate for Kinetics (section 4.1), along a cosine where the paper divides by 10 every 10 epochs."""
  config.update(epochs=45.0, batch_size=32, log_every_steps=100)
  config.optimizer.update(name="sgd", learning_rate=0.01, momentum=0.9, weight_decay=1e-4)
  config.schedule.warmup_epochs = 10.0
  config.eval.batch_size = 64
  config.data.workers = 8


get_config = base.experiment("r3d_18", clips=clips, actions=actions)

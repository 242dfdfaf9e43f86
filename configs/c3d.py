"""C3D (Tran et al. 2015); --config.model.view=frame, stack or clip are the three ways of looking at a video."""

from configs import base


def clips(config):
  """On the embedded moving digits: minutes, an eighth as wide, with batch normalisation."""
  config.model.update(view="clip", frames=config.data.frames)
  config.model.update(width=0.125, batch_norm=True, hidden_features=128, dropout_rate=0.2)
  config.update(epochs=4.0, batch_size=32)
  # fc6 sees the one cell that is left of 32 x 32 pixels sixteen times over
  config.optimizer.update(learning_rate=5e-4, weight_decay=0.05, clip_norm=1.0)
  config.schedule.warmup_epochs = 1.0


def actions(config):
  """On UCF-101: the recipe of section 3.1."""
  config.model.update(view="clip", frames=config.data.frames)
  config.update(epochs=16.0, batch_size=30, log_every_steps=100)
  config.optimizer.update(name="sgd", learning_rate=3e-3, momentum=0.9, weight_decay=5e-4)
  config.schedule.update(name="step", decay_rate=0.1, decay_epochs=4.0)
  config.eval.batch_size = 60
  config.data.workers = 8


get_config = base.experiment("c3d", clips=clips, actions=actions)

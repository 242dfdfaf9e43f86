"""DeepLabv3 on a dilated ResNet-50 (Chen et al. 2017); FCN on the same differs by the name, deeper ones likewise.

Start it from published weights, which have the auxiliary head: --config.init=DIR of scripts/import_weights.py.
"""

from configs import base


def scenes(config):
  """On the embedded scenes: slow, to try it."""
  config.model.aux_head = True
  config.update(epochs=4.0, batch_size=16)
  config.optimizer.update(learning_rate=1e-3, weight_decay=0.05, clip_norm=1.0)
  config.schedule.warmup_epochs = 0.5
  config.eval.batch_size = 32


def pets(config):
  """On Oxford-IIIT Pet: the paper's rate and batch (section 4), along a cosine."""
  config.model.aux_head = True
  config.update(epochs=60.0, batch_size=16, log_every_steps=50)
  config.optimizer.update(name="sgd", learning_rate=7e-3, momentum=0.9, weight_decay=1e-4)
  config.eval.batch_size = 32
  config.data.workers = 8


get_config = base.experiment("deeplabv3_resnet50", scenes=scenes, pets=pets)

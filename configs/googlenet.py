"""GoogLeNet (Szegedy et al. 2014), torchvision's, with auxiliary classifiers; the paper's differs by the name."""

from configs import base


def digits(config):
  """Minutes."""
  config.model.aux_heads = True
  config.update(epochs=10.0, batch_size=64)
  config.optimizer.update(learning_rate=1e-3, weight_decay=0.01, clip_norm=1.0)
  config.schedule.warmup_epochs = 2.0


def cifar(config):
  """AdamW, for the paper's network has no batch normalisation."""
  base.cifar_adamw(config)
  config.model.aux_heads = True


def imagenet(config):
  """The paper's recipe (section 6); the rest as in Caffe's replication."""
  config.model.aux_heads = True
  config.update(epochs=250.0, batch_size=32, log_every_steps=100)
  config.optimizer.update(name="sgd", learning_rate=0.01, momentum=0.9, weight_decay=2e-4)
  config.schedule.update(name="step", decay_rate=0.96, decay_epochs=8.0)
  config.eval.every_epochs = 5.0
  config.data.workers = 16


get_config = base.experiment("googlenet", digits=digits, cifar=cifar, imagenet=imagenet)

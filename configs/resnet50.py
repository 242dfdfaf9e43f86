"""ResNet-50 (He et al. 2015); the other ResNets, with and without pre-activation or shortcuts, differ by the name."""

from configs import base


def digits(config):
  """A few minutes."""
  config.update(epochs=10.0, batch_size=64, label_smoothing=0.1)
  config.optimizer.update(learning_rate=1e-3, weight_decay=0.05, clip_norm=1.0)
  config.schedule.warmup_epochs = 2.0


def cifar(config):
  """The paper's batch size and decay (section 4.2), longer and along a cosine."""
  base.cifar(config)
  config.optimizer.weight_decay = 1e-4


def imagenet(config):
  """The paper's recipe (section 3.4) with Inception's crops."""
  config.update(epochs=120.0, batch_size=256, log_every_steps=100)  # 60e4 iterations
  config.optimizer.update(name="sgd", learning_rate=0.1, momentum=0.9, weight_decay=1e-4)
  config.schedule.update(name="step", decay_rate=0.1, decay_epochs=30.0)  # every 15e4 iterations, as in figure 4
  config.batch_norm.group_size = 32
  config.eval.update(every_epochs=5.0, batch_size=256)
  config.data.workers = 16


get_config = base.experiment("resnet50", digits=digits, cifar=cifar, imagenet=imagenet)

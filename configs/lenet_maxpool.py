"""LeNet with max-pooling (deeplearning.net's tutorial, 2010)."""

from configs import base, lenet5


def digits(config):
  """Over 98% in seconds."""
  config.data.image_size = 28
  config.update(epochs=8.0, batch_size=64)
  config.optimizer.update(learning_rate=2e-3, weight_decay=0.01)
  config.schedule.warmup_epochs = 1.0


def mnist(config):
  """The tutorial's recipe."""
  config.data.update(image_size=28, shift=0.0, rotate=0.0)
  config.update(epochs=200.0, batch_size=500)
  config.optimizer.update(name="sgd", learning_rate=0.1, momentum=0.0)
  config.schedule.name = "constant"
  config.eval.batch_size = 500


def cifar(config):
  """LeNet-5's, at the size that this network is made for."""
  lenet5.cifar(config)
  config.data.image_size = 28


get_config = base.experiment("lenet_maxpool", digits=digits, mnist=mnist, cifar=cifar)

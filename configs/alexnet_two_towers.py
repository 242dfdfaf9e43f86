"""AlexNet in two towers (Krizhevsky, Sutskever and Hinton 2012).

One tower's recipes, which are this one's, at the sizes that fit convolutions without padding.
"""

from configs import alexnet, base


def digits(config):
  """Longer, for the paper's small initial weights."""
  alexnet.digits(config)
  config.data.image_size = max(67, config.data.image_size)
  config.epochs = 20.0
  config.optimizer.learning_rate = 2e-3


def cifar(config):
  """At 67 pixels."""
  alexnet.cifar(config)
  config.data.image_size = 67


def imagenet(config):
  """At 227 pixels."""
  alexnet.imagenet(config)
  config.data.image_size = 227


get_config = base.sibling("alexnet_two_towers", of=alexnet, digits=digits, cifar=cifar, imagenet=imagenet)

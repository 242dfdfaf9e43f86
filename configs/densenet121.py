"""DenseNet-121 (Huang et al. 2017); the other DenseNets differ by the name."""

from configs import base, resnet50


def cifar(config):
  """The paper's batch size (section 4.2)."""
  resnet50.cifar(config)
  config.batch_size = 64


def imagenet(config):
  """The paper's recipe (section 4.2), which is ResNet's but for the length."""
  resnet50.imagenet(config)
  config.epochs = 90.0


get_config = base.experiment("densenet121", digits=resnet50.digits, cifar=cifar, imagenet=imagenet)

"""ZFNet (Zeiler and Fergus 2014)."""

from configs import alexnet, base


def imagenet(config):
  """AlexNet's recipe, but 70 epochs (section 3)."""
  alexnet.imagenet(config)
  config.epochs = 70.0
  config.schedule.decay_epochs = 20.0


get_config = base.sibling("zfnet", of=alexnet, imagenet=imagenet)

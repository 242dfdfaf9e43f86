"""ZFNet (Zeiler and Fergus 2014)."""

from configs import alexnet


def get_config(dataset="digits"):
  """AlexNet's recipe, but 70 epochs on ImageNet (section 3)."""
  config = alexnet.get_config(dataset, "zfnet")
  if config.data.name == "imagenet":
    config.epochs = 70.0
    config.schedule.decay_epochs = 20.0
  return config

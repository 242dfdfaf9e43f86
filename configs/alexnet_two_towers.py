"""AlexNet in two towers (Krizhevsky, Sutskever and Hinton 2012)."""

from configs import alexnet


def get_config(dataset="digits"):
  """One tower's recipe, which is this one's, at the sizes that fit convolutions without padding."""
  config = alexnet.get_config(dataset, "alexnet_two_towers", image_size=67, imagenet_size=227)
  if config.data.name != "imagenet":  # the paper's small initial weights take longer
    config.epochs = 20.0
    config.optimizer.learning_rate = 2e-3
  return config

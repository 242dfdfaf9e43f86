"""GoogLeNet as in the paper (Szegedy et al. 2014): 5 x 5 convolutions and local response normalisation."""

from configs import googlenet


def get_config(dataset="digits"):
  """torchvision's GoogLeNet's recipe."""
  return googlenet.get_config(dataset, "googlenet_paper")

"""VGG-13 (Simonyan and Zisserman 2014)."""

from configs import vgg16


def get_config(dataset="digits"):
  """VGG-16's recipe at this size."""
  return vgg16.get_config(dataset, "vgg13")

"""VGG-16 (Simonyan and Zisserman 2014) with batch normalisation."""

from configs import vgg16


def get_config(dataset="digits"):
  """VGG-16's recipe with batch normalisation."""
  return vgg16.get_config(dataset, "vgg16_bn")

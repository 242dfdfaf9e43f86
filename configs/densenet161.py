"""DenseNet-161 (Huang et al. 2017)."""

from configs import densenet121


def get_config(dataset="digits"):
  """DenseNet-121's recipe at this size."""
  return densenet121.get_config(dataset, "densenet161")

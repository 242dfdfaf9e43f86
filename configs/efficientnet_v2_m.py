"""EfficientNetV2-M (Tan and Le 2021)."""

from configs import efficientnet_v2_s


def get_config(dataset="digits"):
  """S's recipe at this size."""
  return efficientnet_v2_s.get_config(dataset, "efficientnet_v2_m")

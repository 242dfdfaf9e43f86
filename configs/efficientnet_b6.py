"""EfficientNet-B6 (Tan and Le 2019)."""

from configs import efficientnet_b0


def get_config(dataset="digits"):
  """B0's recipe at this size, on digits with a shorter warm-up."""
  return efficientnet_b0.get_config(dataset, "efficientnet_b6", warmup_epochs=0.5)

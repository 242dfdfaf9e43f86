"""EfficientNet-B5 (Tan and Le 2019)."""

from configs import efficientnet_b0


def get_config(dataset="digits"):
  """B0's recipe at this size, with a shorter warm-up except on ImageNet."""
  return efficientnet_b0.get_config(dataset, "efficientnet_b5", warmup_epochs=0.5)

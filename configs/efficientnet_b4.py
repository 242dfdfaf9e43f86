"""EfficientNet-B4 (Tan and Le 2019)."""

from configs import base, efficientnet_b0


def digits(config):
  """B0's recipe with a shorter warm-up, while which the loss of deep networks rises."""
  efficientnet_b0.digits(config)
  config.schedule.warmup_epochs = 0.5


get_config = base.sibling("efficientnet_b4", of=efficientnet_b0, digits=digits)

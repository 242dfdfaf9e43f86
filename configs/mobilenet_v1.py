"""MobileNet (Howard et al. 2017); --config.model.width=0.5 and --config.data.image_size=160 are its two multipliers."""

from configs import mobilenet_v2


def get_config(dataset="digits"):
  """MobileNetV2's recipe: this paper names the optimizer but no numbers (section 3.2)."""
  return mobilenet_v2.get_config(dataset, "mobilenet_v1")

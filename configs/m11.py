"""M11 (Dai et al. 2016)."""

from configs import m5


def get_config(dataset="waveforms"):
  """M5's recipe at this depth."""
  return m5.get_config(dataset, "m11")

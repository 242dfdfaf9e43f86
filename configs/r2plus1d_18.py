"""R(2+1)D-18 (Tran et al. 2018)."""

from configs import r3d_18


def get_config(dataset="moving_digits"):
  """R3D-18's recipe."""
  return r3d_18.get_config(dataset, "r2plus1d_18")

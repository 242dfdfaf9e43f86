"""R(2+1)D-18 (Tran et al. 2018)."""

from configs import base, r3d_18

get_config = base.sibling("r2plus1d_18", of=r3d_18)

"""MC3-18 (Tran et al. 2018)."""

from configs import base, r3d_18

get_config = base.sibling("mc3_18", of=r3d_18)

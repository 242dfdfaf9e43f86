"""M34-res (Dai et al. 2016)."""

from configs import base, m5

get_config = base.sibling("m34_res", of=m5)

"""M11 (Dai et al. 2016)."""

from configs import base, m5

get_config = base.sibling("m11", of=m5)

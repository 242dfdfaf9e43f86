"""M18 (Dai et al. 2016)."""

from configs import base, m5

get_config = base.sibling("m18", of=m5)

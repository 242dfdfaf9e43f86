"""FCN-16s (Long, Shelhamer and Darrell 2015)."""

from configs import base, fcn8s

get_config = base.sibling("fcn16s", of=fcn8s)

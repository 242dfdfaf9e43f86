"""FCN-32s (Long, Shelhamer and Darrell 2015)."""

from configs import base, fcn8s

get_config = base.sibling("fcn32s", of=fcn8s)

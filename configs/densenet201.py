"""DenseNet-201 (Huang et al. 2017)."""

from configs import base, densenet121

get_config = base.sibling("densenet201", of=densenet121)

"""DenseNet-161 (Huang et al. 2017)."""

from configs import base, densenet121

get_config = base.sibling("densenet161", of=densenet121)

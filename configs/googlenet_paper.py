"""GoogLeNet as in the paper (Szegedy et al. 2014): 5 x 5 convolutions and local response normalisation."""

from configs import base, googlenet

get_config = base.sibling("googlenet_paper", of=googlenet)

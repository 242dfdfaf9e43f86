"""MobileNet (Howard et al. 2017) with MobileNetV2's recipes: this paper gives no numbers (section 3.2).

--config.model.width=0.5 and --config.data.image_size=160 are its two multipliers.
"""

from configs import base, mobilenet_v2

get_config = base.sibling("mobilenet_v1", of=mobilenet_v2)

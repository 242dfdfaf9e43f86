"""What stands between convolutions: normalisation, pooling, gates, noise and the fully connected layer."""

from cnn_zoo.layers.linear import Linear
from cnn_zoo.layers.noise import Dropout, StochasticDepth, set_noise
from cnn_zoo.layers.normalization import BatchNorm, configure_batch_norm
from cnn_zoo.layers.pooling import average_pool, global_average_pool, max_pool
from cnn_zoo.layers.rematerialization import run_blocks
from cnn_zoo.layers.squeeze_excitation import SqueezeExcitation

__all__ = [
  "BatchNorm",
  "Dropout",
  "Linear",
  "SqueezeExcitation",
  "StochasticDepth",
  "average_pool",
  "configure_batch_norm",
  "global_average_pool",
  "max_pool",
  "run_blocks",
  "set_noise",
]

"""What stands between convolutions: normalisation, pooling, gates, noise and the fully connected layer; `ConvNorm`."""

from cnn_zoo.layers.conv_norm import ConvNorm
from cnn_zoo.layers.layer_norm import LayerNorm
from cnn_zoo.layers.layer_scale import LayerScale
from cnn_zoo.layers.linear import Linear
from cnn_zoo.layers.local_response_normalization import local_response_normalization
from cnn_zoo.layers.noise import Dropout, StochasticDepth, set_noise
from cnn_zoo.layers.normalization import BatchNorm, configure_batch_norm
from cnn_zoo.layers.pooling import adaptive_average_pool, average_pool, global_average_pool, max_pool
from cnn_zoo.layers.rematerialization import run_blocks
from cnn_zoo.layers.squeeze_excitation import SqueezeExcitation
from cnn_zoo.layers.upsampling import ResizeConvolution, resize

__all__ = [
  "BatchNorm",
  "ConvNorm",
  "Dropout",
  "LayerNorm",
  "LayerScale",
  "Linear",
  "ResizeConvolution",
  "SqueezeExcitation",
  "StochasticDepth",
  "adaptive_average_pool",
  "average_pool",
  "configure_batch_norm",
  "global_average_pool",
  "local_response_normalization",
  "max_pool",
  "resize",
  "run_blocks",
  "set_noise",
]

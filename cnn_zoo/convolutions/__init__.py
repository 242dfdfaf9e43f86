"""Convolutions: what they compute (a class for each kind, a name for each variant) and how (`lowerings`)."""

from cnn_zoo.convolutions.convolution import Convolution
from cnn_zoo.convolutions.lowerings.choice import lowering
from cnn_zoo.convolutions.separable import (
  DepthwiseSeparableConvolution,
  InvertedBottleneck,
  SpatiallySeparableConvolution,
)
from cnn_zoo.convolutions.separation import separate, to_depthwise_separable, to_spatially_separable
from cnn_zoo.convolutions.transposed import TransposedConvolution
from cnn_zoo.convolutions.variants import convolution_options, create_convolution, list_convolutions

__all__ = [
  "Convolution",
  "DepthwiseSeparableConvolution",
  "InvertedBottleneck",
  "SpatiallySeparableConvolution",
  "TransposedConvolution",
  "convolution_options",
  "create_convolution",
  "list_convolutions",
  "lowering",
  "separate",
  "to_depthwise_separable",
  "to_spatially_separable",
]

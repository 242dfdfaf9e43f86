"""Convolutions: what they compute (`Convolution`) and how each is executed on each backend (`execution`)."""

from cnn_zoo.convolutions.convolution import Convolution, create_convolution, list_convolutions
from cnn_zoo.convolutions.execution import lowering

__all__ = ["Convolution", "create_convolution", "list_convolutions", "lowering"]

"""Layers: pure functions with hand-written derivatives. See `Layer` for what one is."""

from xpnet.nn._layer import Layer
from xpnet.nn.activations import Identity, ReLU, Sigmoid, Tanh
from xpnet.nn.containers import Sequential
from xpnet.nn.linear import Linear
from xpnet.nn.reshape import Flatten

__all__ = ["Flatten", "Identity", "Layer", "Linear", "ReLU", "Sequential", "Sigmoid", "Tanh"]

"""Layers: pure functions with hand-written derivatives. See `Layer` for what one is."""

from xpnet.nn._layer import Layer
from xpnet.nn.activations import (
    ELU,
    GELU,
    Identity,
    LeakyReLU,
    ReLU,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Tanh,
)
from xpnet.nn.containers import Sequential
from xpnet.nn.linear import Linear
from xpnet.nn.reshape import Flatten

__all__ = [
    "ELU",
    "GELU",
    "Flatten",
    "Identity",
    "Layer",
    "LeakyReLU",
    "Linear",
    "ReLU",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "Tanh",
]

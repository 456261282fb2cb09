"""Layers: pure functions with hand-written derivatives. `Layer` describes the protocol."""

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
from xpnet.nn.containers import Container, ContainerResiduals, Residual, Sequential
from xpnet.nn.conv import Conv1d, Conv2d
from xpnet.nn.embedding import Embedding
from xpnet.nn.linear import Linear
from xpnet.nn.noise import Dropout, GaussianNoise
from xpnet.nn.norm import BatchNorm, GroupNorm, LayerNorm
from xpnet.nn.pool import AvgPool1d, AvgPool2d, GlobalAvgPool, MaxPool1d, MaxPool2d
from xpnet.nn.reshape import Flatten
from xpnet.nn.tying import Tied

__all__ = [
    "ELU",
    "GELU",
    "AvgPool1d",
    "AvgPool2d",
    "BatchNorm",
    "Container",
    "ContainerResiduals",
    "Conv1d",
    "Conv2d",
    "Dropout",
    "Embedding",
    "Flatten",
    "GaussianNoise",
    "GlobalAvgPool",
    "GroupNorm",
    "Identity",
    "Layer",
    "LayerNorm",
    "LeakyReLU",
    "Linear",
    "MaxPool1d",
    "MaxPool2d",
    "ReLU",
    "Residual",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "Tanh",
    "Tied",
]

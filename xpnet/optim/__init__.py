"""Optimizers: from parameters and their gradients to better parameters.

An optimizer has `init(params) -> state` and `update(params, grads, state) -> (params, state)`.
`update` may overwrite the arrays of `params` and `state`, so go on with what it returns; it never
writes into `grads`.

Each is a composition of the small steps in `xpnet.optim.steps`. A hyper-parameter may be a Python
number, or an array of length K where every parameter has a leading axis of K networks: then each
network has its own.
"""

from xpnet.optim._optimizer import Optimizer
from xpnet.optim.adaptive import Adagrad, Adam, AdamW, Lion, NAdam, RMSprop
from xpnet.optim.momentum import SGD, EMAMomentum
from xpnet.optim.steps import decay_weights, zeros_like
from xpnet.optim.wrappers import AverageWeights, ClipNorm, ClipValue

__all__ = [
    "SGD",
    "Adagrad",
    "Adam",
    "AdamW",
    "AverageWeights",
    "ClipNorm",
    "ClipValue",
    "EMAMomentum",
    "Lion",
    "NAdam",
    "Optimizer",
    "RMSprop",
    "decay_weights",
    "zeros_like",
]

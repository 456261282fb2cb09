"""Optimizers: update rules that compute better parameters from parameters and gradients.

    init(params)                  ->  state
    update(params, grads, state)  ->  params, state

`update` may overwrite the arrays in `params` and `state`: use its results, not its arguments. It never writes
into `grads`.

The update of most optimizers is one formula of a parameter; `xpnet.optim.steps` applies it to all of them. A
hyper-parameter is a Python number, or an array of length K if every parameter has a leading axis of K
networks: one value for each network.
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

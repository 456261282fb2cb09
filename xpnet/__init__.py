"""Neural networks whose forward and backward passes are written by hand, once, for any array library."""

from xpnet import backend, data, gradcheck, init, losses, nn, optim, schedules
from xpnet.callbacks import Callback, Checkpoints, EarlyStopping
from xpnet.errors import Error
from xpnet.model import Model

__all__ = [
    "Callback",
    "Checkpoints",
    "EarlyStopping",
    "Error",
    "Model",
    "backend",
    "data",
    "gradcheck",
    "init",
    "losses",
    "nn",
    "optim",
    "schedules",
]

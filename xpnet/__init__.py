"""Neural networks whose forward and backward passes are written by hand, once, for any array library."""

from xpnet import (
    backend,
    convert,
    data,
    distributed,
    gradcheck,
    init,
    losses,
    nn,
    onnx,
    optim,
    plots,
    schedules,
    testing,
)
from xpnet._util.version import __version__ as __version__
from xpnet.callbacks import Callback, Checkpoints, EarlyStopping
from xpnet.ensemble import Ensemble
from xpnet.errors import (
    BackendError,
    CheckpointError,
    ConfigError,
    DataError,
    DivergedError,
    Error,
    ShapeError,
)
from xpnet.model import Model
from xpnet.runs import load_run

__all__ = [
    "BackendError",
    "Callback",
    "CheckpointError",
    "Checkpoints",
    "ConfigError",
    "DataError",
    "DivergedError",
    "EarlyStopping",
    "Ensemble",
    "Error",
    "Model",
    "ShapeError",
    "backend",
    "convert",
    "data",
    "distributed",
    "gradcheck",
    "init",
    "load_run",
    "losses",
    "nn",
    "onnx",
    "optim",
    "plots",
    "schedules",
    "testing",
]


def __dir__() -> list[str]:
    return [*__all__, "__version__"]

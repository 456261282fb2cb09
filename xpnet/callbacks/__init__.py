"""Callbacks: hooks that `Model.fit` calls between its steps."""

from xpnet.callbacks.standard import Callback, Checkpoints, EarlyStopping, Predictions, Stateful
from xpnet.callbacks.tensorboard import TensorBoard

__all__ = ["Callback", "Checkpoints", "EarlyStopping", "Predictions", "Stateful", "TensorBoard"]

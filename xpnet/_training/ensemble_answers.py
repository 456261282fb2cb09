"""The answers of K networks: each network's own, or one of all of them."""

from typing import Any

import numpy as np

from xpnet.backend import Backend
from xpnet.errors import ConfigError
from xpnet.losses import CrossEntropy, Loss
from xpnet.losses import _stacked as stacked_losses


def answers(loss: Loss, backend: Backend, outputs: np.ndarray) -> np.ndarray:
    """`loss.predict` of the outputs (K, n, d) of each network, on the host."""
    return _of_each(loss, backend, loss.predict, outputs)


def probabilities(loss: Loss, backend: Backend, outputs: np.ndarray) -> np.ndarray:
    """`loss.probabilities` of the outputs (K, n, d) of each network, on the host."""
    given: Any = loss
    return _of_each(loss, backend, given.probabilities, outputs)


def by_mean(loss: Loss, backend: Backend, outputs: np.ndarray) -> np.ndarray:
    """`loss.predict` of the mean of the probabilities, or of the outputs for a loss without any."""
    if not hasattr(loss, "probabilities"):
        return _of_one(backend, loss.predict, outputs.mean(axis=0))
    p = probabilities(loss, backend, outputs).mean(axis=0)
    with np.errstate(divide="ignore"):
        if stacked_losses.takes_the_axis(loss):
            mean = p - 0.5  # argmax and sign are the classes of xpnet's losses
        elif isinstance(loss, CrossEntropy):
            mean = np.log(p)  # a subclass may choose classes in another way
        else:
            mean = np.log(p) - np.log1p(-p)
    return _of_one(backend, loss.predict, mean)


def by_vote(loss: Loss, backend: Backend, outputs: np.ndarray) -> np.ndarray:
    """The class that most networks give, the smallest of equals. ConfigError for a loss without classes."""
    each = answers(loss, backend, outputs)
    if each.dtype.kind not in "iu":
        raise ConfigError(f'predict: expected a loss with classes for combine="vote", got {loss}')
    classes = np.unique(each)
    votes = np.stack([(each == value).sum(axis=0) for value in classes])
    return classes[votes.argmax(axis=0)]


def _of_each(loss: Loss, backend: Backend, function: Any, outputs: np.ndarray) -> np.ndarray:
    """`function(outputs)`, network by network for a loss that xpnet does not know."""
    if stacked_losses.takes_the_axis(loss):
        return _of_one(backend, function, outputs)
    return np.stack([_of_one(backend, function, own) for own in outputs])


def _of_one(backend: Backend, function: Any, outputs: np.ndarray) -> np.ndarray:
    with backend.precision():
        return backend.to_numpy(function(backend.asarray(outputs)))

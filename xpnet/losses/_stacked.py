"""The losses of K networks as one loss: one value for each network."""

from collections.abc import Sequence
from typing import Any

from xpnet.backend import namespace
from xpnet.losses._loss import Loss
from xpnet.losses.binary import BinaryCrossEntropy
from xpnet.losses.classification import CrossEntropy, Hinge
from xpnet.losses.regression import Huber, MeanAbsoluteError, MeanSquaredError
from xpnet.tree import Array

TAKE_THE_AXIS = (BinaryCrossEntropy, CrossEntropy, Hinge, Huber, MeanAbsoluteError, MeanSquaredError)


def stacked(losses: Sequence[Loss]) -> Loss:
    """One loss for predictions (K, n, d) and their targets. A loss that xpnet does not know runs K times."""
    first = losses[0]
    same = all(type(loss) is type(first) and loss == first for loss in losses[1:])
    return first if same and takes_the_axis(first) else OneByOne(tuple(losses))


def takes_the_axis(loss: Loss) -> bool:
    """Whether all of its methods take the arrays of K networks at once."""
    return type(loss) in TAKE_THE_AXIS


class OneByOne(Loss):
    """K losses, one after the other."""

    def __init__(self, losses: tuple[Loss, ...]) -> None:
        self.losses = losses

    @property
    def examples(self) -> Any:
        return self.losses[0].examples

    def __repr__(self) -> str:
        return repr(self.losses[0])

    def forward(self, prediction: Array, target: Array) -> tuple[Array, tuple[Any, ...]]:
        found = [loss.forward(*_network(k, prediction, target)) for k, loss in enumerate(self.losses)]
        return _stack([value for value, _ in found]), tuple([residuals for _, residuals in found])

    def backward(self, residuals: tuple[Any, ...]) -> Array:
        return _stack([loss.backward(each) for loss, each in zip(self.losses, residuals, strict=True)])

    def errors(self, prediction: Array, target: Array) -> Array | None:
        found = [loss.errors(*_network(k, prediction, target)) for k, loss in enumerate(self.losses)]
        return None if found[0] is None else _stack(found)

    def count(self, prediction_shape: tuple[int, ...], target: Array) -> Array | None:
        shape = tuple(prediction_shape[1:])
        found = [loss.count(shape, target[k, ...]) for k, loss in enumerate(self.losses)]
        return None if found[0] is None else _stack(found)


def _network(k: int, *arrays: Array) -> list[Array]:
    return [array[k, ...] for array in arrays]


def _stack(arrays: list[Any]) -> Any:
    return namespace(arrays[0]).stack(arrays)

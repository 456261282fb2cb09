"""What an optimizer is."""

import math
from dataclasses import replace
from typing import Self

from xpnet.errors import ConfigError
from xpnet.optim.steps import Number
from xpnet.tree import Tree


class Optimizer:
    """A rule that makes better parameters from parameters and their gradients.

    An optimizer is a frozen dataclass of hyper-parameters and owns no arrays: its state is a tree
    that `init` makes and the caller keeps. To write your own, compose the steps in
    `xpnet.optim.steps`: write `update`, and, if it has a state, `init`.
    """

    learning_rate: Number

    def init(self, params: Tree) -> Tree:
        """The state before the first update: arrays like the parameters', or nothing."""
        return {}

    def update(self, params: Tree, grads: Tree, state: Tree) -> tuple[Tree, Tree]:
        """Parameters and state after one step; those that went in may be overwritten."""
        raise NotImplementedError

    def with_learning_rate(self, rate: Number) -> Self:
        """The same optimizer with that learning rate.

        A schedule gives a step its rate so, as a 0-d array of the parameters' library, device and
        dtype: a compiled step would take a Python number for a constant.
        """
        return replace(self, learning_rate=rate)  # type: ignore[type-var]  # every subclass is a dataclass

    def evaluation_params(self, params: Tree, state: Tree) -> Tree:
        """The parameters to evaluate with, given those after an update and the state.

        The next update may overwrite them.
        """
        return params


def require(optimizer: Optimizer, name: str, below: float = math.inf, zero: bool = True) -> None:
    """ConfigError unless that hyper-parameter is a finite number from 0 to `below`, or an array.

    The upper end is out of the range, and so is 0 without `zero`.
    """
    value = getattr(optimizer, name)
    if isinstance(value, float) and type(value) is not float:
        # NumPy's float64 is a float too, but one that turns float32 parameters into float64.
        value = float(value)
        object.__setattr__(optimizer, name, value)
    if hasattr(value, "ndim"):
        return
    if not (isinstance(value, int | float) and 0 <= value < below and (zero or value > 0)):
        limit = "a finite number" if below == math.inf else f"a number below {below:g}"
        least = "at least 0" if zero else "above 0"
        raise ConfigError(
            f"{type(optimizer).__name__}: expected {name} to be {limit} and {least}, got {value!r}"
        )

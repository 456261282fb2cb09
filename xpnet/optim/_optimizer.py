"""The base class of all optimizers."""

import copy
import math
from dataclasses import is_dataclass, replace
from typing import Self

from xpnet._util.checks import is_in_range, settled
from xpnet.errors import ConfigError
from xpnet.optim.steps import Number
from xpnet.tree import Tree


class Optimizer:
    """Base class of optimizers.

    An optimizer is a frozen dataclass of hyper-parameters and owns no arrays: `init` returns its state, and
    the caller keeps it.

    To write an optimizer, define `update`, and `init` if it has a state; compose the steps of
    `xpnet.optim.steps`. `xpnet.testing.check_optimizer` checks it.
    """

    learning_rate: Number

    def init(self, params: Tree) -> Tree:
        """The state before the first update: a tree of arrays in the parameters' library, dtype and device.

        Empty by default.
        """
        return {}

    def update(self, params: Tree, grads: Tree, state: Tree) -> tuple[Tree, Tree]:
        """The parameters and the state after one step. May overwrite params and state.

        Shapes: grads has the names and shapes of params; the results have those of params and state.
        """
        raise NotImplementedError(f"{type(self).__name__}: expected a method update, got none")

    def with_learning_rate(self, rate: Number) -> Self:
        """The same optimizer with another learning rate.

        A training step with a schedule calls this with a 0-d array in the parameters' library and dtype, on
        their device: a compiled step would treat a Python number as a constant.
        """
        if is_dataclass(self):
            return replace(self, learning_rate=rate)
        other = copy.copy(self)
        other.learning_rate = rate
        return other

    def evaluation_params(self, params: Tree, state: Tree) -> Tree:
        """The parameters for evaluation, from the parameters and the state after an update.

        The next update may overwrite them. By default the parameters themselves. Otherwise the training steps
        of a network with statistics, such as those of batch normalisation, collect statistics for these
        parameters too.
        """
        return params


def require(optimizer: Optimizer, *names: str, below: float = math.inf, zero: bool = True) -> None:
    """ConfigError unless each hyper-parameter is a finite number, 0 <= number < below, or an array of them.

    With zero=False, 0 is out of range too. NumPy's numbers become Python's; arrays stay arrays. An array's
    values are checked if they are on the host.
    """
    for name in names:
        value = settled(optimizer, name, arrays=True)
        if not is_in_range(value, below, zero):
            limit = "a finite number" if below == math.inf else f"a number below {below:g}"
            least = "at least 0" if zero else "above 0"
            raise ConfigError(
                f"{type(optimizer).__name__}: expected {name} to be {limit} and {least}, got {value!r}"
            )

"""Elementwise functions in one pass over memory: `fused`, and the functions that may stand in one.

Write the formula of one element with operators and the functions below:

    @fused(overwrites=2)
    def momentum_step(p, v, g, learning_rate, momentum):
        v = momentum * v + g
        return p - learning_rate * v, v

    p, v = momentum_step(p, v, g, 0.1, 0.9)

As it stands, it works on arrays of every library. Libraries that can do it in one pass read the formula from
the function, once, by calling it with symbols in place of arrays.
"""

import functools
import inspect
from collections.abc import Callable
from typing import Any

from xpnet.backend._formula import Formula, Symbol, apply, trace
from xpnet.backend.ops import FUNCTIONS, ops


class Fused:
    """An elementwise function of arrays and numbers; see `fused`.

    Attributes:
        function: the function as written.
        name: its name.
        overwrites: the number of leading arguments that the results in the same places may overwrite.
        names: the names of its arguments.
    """

    def __init__(self, function: Callable[..., Any], overwrites: int = 0) -> None:
        functools.update_wrapper(self, function)
        self.function = function
        self.name = function.__name__
        self.overwrites = overwrites
        self.names = tuple(inspect.signature(function).parameters)

    def __call__(self, *arguments: Any) -> Any:
        return ops(arguments[0]).fused(self, arguments)

    def formula(self, kinds: tuple[str, ...]) -> Formula:
        """The formula for arguments of these kinds: "array", "scalar", "number", "0" or "1".

        A number 0 or 1 is part of the formula, in which terms with a factor 0 and factors of 1 drop out.
        """
        names = tuple([f"{name}_" for name in self.names])  # cannot be a name in generated code
        return trace(self.function, names, kinds)


def fused(overwrites: int = 0) -> Callable[[Callable[..., Any]], Fused]:
    """Decorate an elementwise function, for libraries to run it in one pass over memory.

    The function takes an array, more arrays of its shape or that broadcast to it, and scalars: numbers, 0-d
    arrays on the device, or one for each of K networks, (K, 1, ..., 1). It returns an array or a tuple of
    them, each of the first argument's shape, dtype and device, unless it is of rows or columns alone. It may
    use operators and the functions of `xpnet.backend.fused`, but no `if` that depends on an argument.

    Arguments:
        overwrites: result i may overwrite argument i, for all i below this number: use the result.
    """
    return lambda function: Fused(function, overwrites)


# The functions of a formula: of symbols, arrays and numbers.


def _call(name: str, *operands: Any) -> Any:
    is_symbolic = any(isinstance(each, Symbol) for each in operands)
    return apply(name, *operands) if is_symbolic else FUNCTIONS[name](*operands)


def sqrt(x: Any) -> Any:
    """√x."""
    return _call("sqrt", x)


def exp(x: Any) -> Any:
    """eˣ."""
    return _call("exp", x)


def log(x: Any) -> Any:
    """The natural logarithm of x."""
    return _call("log", x)


def sign(x: Any) -> Any:
    """-1, 0 or 1: the sign of x."""
    return _call("sign", x)


def maximum(x: Any, y: Any) -> Any:
    """The larger of x and y."""
    return _call("maximum", x, y)


def minimum(x: Any, y: Any) -> Any:
    """The smaller of x and y."""
    return _call("minimum", x, y)


def where(condition: Any, x: Any, y: Any) -> Any:
    """x where the condition is true, such as `v > 0`, else y."""
    return _call("where", condition, x, y)


# Functions of rows, of x (n, d) along its last axis. A library may compute them, and what depends on them, in
# one pass over each row.


def row_sum(x: Any) -> Any:
    """Σᵢ xₙᵢ, (n, 1)."""
    return _call("row_sum", x)


def row_max(x: Any) -> Any:
    """maxᵢ xₙᵢ, (n, 1)."""
    return _call("row_max", x)


def row_argmax(x: Any) -> Any:
    """The position of the first maximum of each row, (n, 1), in the dtype of x."""
    return _call("row_argmax", x)


def one_hot(labels: Any, like: Any) -> Any:
    """1 in the column of each label (n, 1), 0 elsewhere, in the shape and dtype of `like` (n, d)."""
    return _call("one_hot", labels, like)


# Functions of columns, of x (..., n, d). What they return has to be a result: no other operation may take it,
# since a batch may be split, and the sum over its parts is taken outside.


def sum_of_rows(x: Any) -> Any:
    """Σₙ xₙᵢ, (..., d)."""
    return _call("sum_of_rows", x)


def sum_of_products(x: Any, y: Any) -> Any:
    """Σₙ xₙᵢ yₙᵢ, (..., d)."""
    return _call("sum_of_products", x, y)


@fused()
def positive_part(x: Any) -> Any:
    """max(x, 0)."""
    return maximum(x, 0)


@fused()
def where_positive(x: Any, y: Any) -> Any:
    """x where y > 0, else 0."""
    return where(y > 0, x, 0)

"""Penalties on the parameters, added to a loss."""

import functools
import operator

from xpnet.backend import namespace, ops
from xpnet.tree import Array


def l2(weights: list[Array], strength: float) -> Array | float:
    """The L2 penalty λ/2 · Σ w² over all elements of all weights.

    dw = λ w

    Shapes: weights of any shape, value 0-d.

    Arguments:
        weights: the arrays to penalise, `xpnet.tree.weights(params)`.
        strength: λ.
    """
    if not weights:
        return 0.0
    rows = [namespace(w).reshape(w, (1, -1)) for w in weights]
    squares = [ops(row).inner_product(row, row) for row in rows]
    return 0.5 * strength * functools.reduce(operator.add, squares)

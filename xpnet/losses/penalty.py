"""Penalties on the parameters, added to a loss."""

import functools
import operator
from typing import Any

from xpnet.backend import namespace, ops
from xpnet.tree import Array


def l2(weights: list[Array], strength: Any) -> Array | float:
    """The L2 penalty λ/2 · Σ w² over all elements of all weights.

    dw = λ w

    Shapes: weights of any shape, value 0-d; of K networks, weights (K, ...) and value (K,).

    Arguments:
        weights: the arrays to penalise, `xpnet.tree.weights(params)`.
        strength: λ; an array (K,) for K networks.
    """
    if not weights:
        return 0.0
    networks = getattr(strength, "shape", ())
    rows = [namespace(w).reshape(w, (*networks, 1, -1)) for w in weights]
    squares = [ops(row).inner_product(row, row) for row in rows]
    return 0.5 * strength * functools.reduce(operator.add, squares)

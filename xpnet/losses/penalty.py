"""Penalties on the parameters, added to a loss."""

from xpnet.backend import namespace
from xpnet.tree import Array


def l2(weights: list[Array], strength: float) -> Array:
    """The L2 penalty λ/2 · Σ w² over all elements of all weights.

    dw = λ w

    Shapes: weights of any shape, value 0-d.

    Arguments:
        weights: the arrays to penalise, `xpnet.tree.weights(params)`.
        strength: λ.
    """
    penalty = sum(namespace(w).sum(w * w) for w in weights)
    return 0.5 * strength * penalty

"""Penalties on the parameters, to be added to a loss."""

from xpnet.backend import namespace
from xpnet.tree import Array


def l2(weights: list[Array], strength: float) -> Array:
    """The penalty λ/2 · Σ w² over all elements of all arrays; its gradient at w is λ w.

    Shapes: weights of any shape, the value 0-d. λ is `strength`.
    """
    penalty = sum(namespace(w).sum(w * w) for w in weights)
    return 0.5 * strength * penalty

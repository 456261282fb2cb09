"""Weights of classes, in the forms that users have them."""

from collections.abc import Mapping
from typing import Any

from xpnet._util.checks import is_number, python_number

# One number for each class, or pairs (class, number): the other classes weigh 1.
ClassWeights = tuple[float, ...] | tuple[tuple[int, float], ...]

EXPECTED = (
    "numbers of at least 0, one for each class, a dict from classes to such numbers, 'balanced', or None"
)


def hashable(weights: Any) -> Any:
    """Weights as a list, tuple, array of any library or dict, as a tuple that a frozen dataclass can hold.

    Anything else unchanged.
    """
    if weights is None or isinstance(weights, str):
        return weights
    if isinstance(weights, Mapping):
        pairs = [(python_number(key), python_number(value)) for key, value in weights.items()]
        return tuple(sorted(pairs, key=lambda pair: pair[0] if isinstance(pair[0], int) else -1))
    if hasattr(weights, "tolist"):
        weights = weights.tolist()
    try:
        return tuple([_plain(each) for each in weights])
    except (TypeError, ValueError):
        return weights


def _plain(weight: Any) -> Any:
    """One weight, or a pair of a class and its weight, in Python's numbers."""
    if isinstance(weight, tuple | list):
        return tuple(map(python_number, weight))
    is_scalar_array = getattr(weight, "ndim", None) == 0
    return python_number(weight) if not is_scalar_array or is_number(weight) else float(weight)


def are_valid(weights: Any) -> bool:
    """Whether `hashable` weights are numbers of at least 0, or pairs of a class and such a number."""
    if not isinstance(weights, tuple) or not weights:
        return False
    if not isinstance(weights[0], tuple):
        return all(is_number(w) and w >= 0 for w in weights)
    if not all(isinstance(pair, tuple) and len(pair) == 2 for pair in weights):
        return False
    names = [name for name, _ in weights]
    if not all(isinstance(name, int) and not isinstance(name, bool) and name >= 0 for name in names):
        return False
    return len(set(names)) == len(names) and all(is_number(w) and w >= 0 for _, w in weights)


def of_each_class(weights: ClassWeights, n: int) -> tuple[float, ...] | None:
    """The weights of the classes 0 to n - 1; None if they are for another number of classes."""
    if not isinstance(weights[0], tuple):
        return weights if len(weights) == n else None
    by_class = dict(weights)
    return None if max(by_class) >= n else tuple([by_class.get(name, 1.0) for name in range(n)])


def balanced(counts: list[float]) -> tuple[tuple[int, float], ...]:
    """n / (d · nᵢ) for each of the d classes that occur: nᵢ of the n examples are of class i."""
    present = [(name, count) for name, count in enumerate(counts) if count > 0]
    n = sum(counts)
    return tuple([(name, n / (len(present) * count)) for name, count in present])

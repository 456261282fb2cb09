"""How the result for one example depends on the other examples of its batch: see `Layer.examples`."""

from collections.abc import Iterable
from typing import Literal

Examples = Literal["independent", "summed", "mixed"]


def combined(parts: Iterable[Examples]) -> Examples:
    """The value for a computation composed of these parts."""
    found = set(parts)
    return "mixed" if "mixed" in found else "summed" if "summed" in found else "independent"

"""Whether what is computed for one example depends on the other examples of its batch."""

from collections.abc import Iterable
from typing import Literal

Examples = Literal["independent", "summed", "mixed"]


def combined(parts: Iterable[Examples]) -> Examples:
    """What holds for a function that is made of these parts."""
    found = set(parts)
    return "mixed" if "mixed" in found else "summed" if "summed" in found else "independent"

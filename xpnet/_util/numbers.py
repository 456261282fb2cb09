"""Whole numbers from rounded ones."""

import math

ROUNDING = 2**-50  # of a quotient or a product of two rounded numbers


def whole(x: float) -> int:
    """⌊x⌋, where an x that is below an integer by no more than its rounding counts as the integer.

    In floating point, 0.3 / 0.1 is below 3, and 0.29 · 100 is below 29.
    """
    nearest = round(x)
    return nearest if nearest - x <= abs(x) * ROUNDING else math.floor(x)

"""Objects that are arrays in one way only."""

from typing import Any

import numpy as np


class DLPack:
    """An array that has DLPack alone, as its consumers call it."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array

    def __dlpack__(self, **options: Any) -> Any:
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.array.__dlpack_device__()


class Tensor:
    """An array that has `numpy()` alone."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array

    def numpy(self) -> np.ndarray:
        return self.array

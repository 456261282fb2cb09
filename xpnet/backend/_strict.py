"""array-api-strict: the standard and nothing else."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from xpnet.backend.backends import Backend
from xpnet.backend.ops import Ops

Array = Any  # an array-api-strict array with all of its methods


class Strict(Backend):
    """array-api-strict, the reference implementation of the standard. It refuses everything else.

    Its `device1` behaves like a GPU: nothing is converted to NumPy or mixed with another device implicitly.
    It is slow, and it finds most of what would fail on a GPU on any machine.
    """

    name = "array-api-strict"
    module = "array_api_strict"
    install = "pip install array-api-strict"
    oldest = "2.5"  # before, `where` takes no numbers
    devices = "'CPU_DEVICE', 'device1' or 'device2'"

    def find_device(self, device: Any) -> Any:
        if isinstance(device, self.library.Device):
            return device
        try:
            return self.library.Device(device or "CPU_DEVICE")
        except ValueError:
            self.refuse(device)

    def compile(self, step: Callable[..., Any]) -> Callable[..., Any]:
        return np.errstate(all="ignore")(step)  # as for NumPy, which computes inside

    def precision(self) -> AbstractContextManager[Any]:
        return np.errstate(under="ignore")

    def to_numpy(self, x: Array) -> np.ndarray:
        return np.asarray(x.to_device(self.library.Device("CPU_DEVICE")))


class StrictOps(Ops, library="array_api_strict"):
    """The reference forms, without NumPy's overflow warnings: NumPy computes inside."""

    def advice(self, x: Array) -> str:
        return "pass x.to_device(array_api_strict.Device('CPU_DEVICE'))"

    def exp_or_infinity(self, x: Array) -> Array:
        with np.errstate(over="ignore"):
            return super().exp_or_infinity(x)

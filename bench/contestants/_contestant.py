"""What a contestant is."""

from typing import ClassVar

from bench.workloads import Part, Workload

PLACES = {("cpu", "float32"): "", ("cuda", "float32"): ", CUDA", ("cuda", "tf32"): ", CUDA, TF32"}


class Unavailable(Exception):
    """This contestant cannot run here, or not with this workload; the message says why."""


class Contestant:
    """One library on one device ("cpu" or "cuda"), with products in one precision ("float32" or "tf32").

    Whatever it needs is imported in `prepare`: an ImportError there, or `Unavailable`, means that it
    cannot run here, or not with this workload.
    """

    library: str
    draws_own_batches: ClassVar[bool] = False

    def __init__(self, device: str = "cpu", precision: str = "float32") -> None:
        self.device = device
        self.precision = precision

    @property
    def place(self) -> str:
        """What its name ends with: only contestants in the same place are compared."""
        return PLACES[self.device, self.precision]

    def prepare(self, workload: Workload, parts: list[Part]) -> None:
        raise NotImplementedError

    def epoch(self, number: int) -> float | None:
        """Train on part `number` mod len(parts): the mean training loss, if there is one."""
        raise NotImplementedError

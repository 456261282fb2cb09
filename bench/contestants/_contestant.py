"""Base class of contestants."""

from typing import ClassVar

from bench.workloads import Part, Workload

PLACES = {("cpu", "float32"): "", ("cuda", "float32"): ", CUDA", ("cuda", "tf32"): ", CUDA, TF32"}


class Unavailable(Exception):
    """The contestant cannot run here, or not with this workload; the message says why."""


class Contestant:
    """One library on one device ("cpu" or "cuda"), with products in one precision ("float32" or "tf32").

    `prepare` imports the library. An ImportError or `Unavailable` there means that the contestant cannot run
    here, or not with this workload.
    """

    library: str
    also: tuple[str, ...] = ()  # other modules whose versions belong to the result
    draws_own_batches: ClassVar[bool] = False

    def __init__(self, device: str = "cpu", precision: str = "float32") -> None:
        self.device = device
        self.precision = precision
        self.environment: dict[str, str] = {}  # of its process, beside what all contestants get

    @property
    def place(self) -> str:
        """Device and precision as the end of its name. Only contestants in the same place are compared."""
        return PLACES[self.device, self.precision]

    def prepare(self, workload: Workload, parts: list[Part]) -> None:
        raise NotImplementedError

    def epoch(self, number: int) -> float | None:
        """Train on part `number` mod len(parts), and return the mean training loss, or None without one."""
        raise NotImplementedError

"""Memory: whether the data fits on the device, and the error when memory runs out."""

import contextlib
import math
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from xpnet._training.summary import StepMemory, short
from xpnet.backend import Backend
from xpnet.errors import BackendError, ProcessError
from xpnet.nn._layer import Shape
from xpnet.tree import ArrayLike


@dataclass(frozen=True)
class Need:
    """The device memory that the data and a training step need together.

    Arguments:
        backend: the backend, with its device.
        data: arrays of any library, or lists; inputs first.
        batch_size: examples per step.
        step_memory: returns the memory of a step from the shape of one example and the batch size.
    """

    backend: Backend
    data: Sequence[ArrayLike]
    batch_size: int
    step_memory: Callable[[Shape, int], StepMemory]

    def fits(self) -> bool:
        """Whether the free memory suffices. Always True on a device that uses the host's memory."""
        free = self.backend.free_bytes()
        if free is None or all(self.backend.owns(array) for array in self.data):
            return True
        return not self.backend.any_process(self._data_bytes() + sum(self._step()) > free)

    def __str__(self) -> str:
        return (
            f"the data, {short(self._data_bytes())}B, and a step of {self.batch_size} examples, "
            f"{self._step()}; a smaller batch_size or micro_batch needs less"
        )

    def _data_bytes(self) -> int:
        return sum(math.prod(np.shape(array)) for array in self.data) * self.backend.itemsize

    def _step(self) -> StepMemory:
        return self.step_memory(np.shape(self.data[0])[1:], self.batch_size)


@contextlib.contextmanager
def explain_out_of_memory(backend: Backend, needed: object) -> Iterator[None]:
    """Raise BackendError in place of the array library's own out-of-memory error.

    `str(needed)` is evaluated only then. It describes the memory needed, and how to need less. Raises
    ProcessError in place of the library's error where another process has ended.
    """
    try:
        yield
    except Exception as error:
        if backend.lost_process(error):
            raise ProcessError(
                "fit: another process has ended; start all of them again, from the last checkpoint"
            ) from error
        if not backend.is_out_of_memory(error):
            raise
        free = backend.free_bytes()
        found = f"{short(_host_bytes())}B in this machine" if free is None else f"{short(free)}B free"
        raise BackendError(f"{backend}: out of memory: got {found}, expected room for {needed}") from error


def _host_bytes() -> int:
    """The memory of this machine in bytes; 0 if the system does not report it."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 0

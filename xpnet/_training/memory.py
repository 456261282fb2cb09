"""Whether the data fits the device; the error where memory ran out."""

import contextlib
import math
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from xpnet._training.summary import StepMemory, short
from xpnet.backend import Backend
from xpnet.errors import BackendError
from xpnet.nn._layer import Shape
from xpnet.tree import ArrayLike


@dataclass(frozen=True)
class Need:
    """The memory that data, and a step of training beside them, need on the device.

    Arguments:
        backend: the device.
        data: arrays of any library, or lists; inputs first.
        batch_size: examples in a step.
        step_memory: gives what a step takes, from the shape of one input and the batch size.
    """

    backend: Backend
    data: Sequence[ArrayLike]
    batch_size: int
    step_memory: Callable[[Shape, int], StepMemory]

    def fits(self) -> bool:
        """Whether there is room. True on a device without memory of its own, which uses that of the host."""
        free = self.backend.free_bytes()
        if free is None or all(self.backend.owns(array) for array in self.data):
            return True
        return self._data_bytes() + sum(self._step()) <= free

    def __str__(self) -> str:
        return (
            f"the data, {short(self._data_bytes())}B, and a step of {self.batch_size} examples, "
            f"{self._step()}; a smaller batch_size or micro_batch takes less"
        )

    def _data_bytes(self) -> int:
        return sum(math.prod(np.shape(array)) for array in self.data) * self.backend.itemsize

    def _step(self) -> StepMemory:
        return self.step_memory(np.shape(self.data[0])[1:], self.batch_size)


@contextlib.contextmanager
def explain_out_of_memory(backend: Backend, needed: object) -> Iterator[None]:
    """BackendError in place of what the array library raises where memory ran out.

    `str(needed)`, made only then, says what there should be room for, and what takes less.
    """
    try:
        yield
    except Exception as error:
        if not backend.is_out_of_memory(error):
            raise
        free = backend.free_bytes()
        there = f"{short(_of_host())}B in this machine" if free is None else f"{short(free)}B free"
        raise BackendError(
            f"{backend}: out of memory: there are {there}; expected room for {needed}"
        ) from error


def _of_host() -> int:
    """The memory of this machine; 0 where the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 0

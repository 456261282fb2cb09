"""Whether the data fits the device, and what to say where there was too little memory."""

import contextlib
import math
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from xpnet._training.summary import StepMemory, short
from xpnet.backend import Backend
from xpnet.errors import BackendError
from xpnet.tree import Array

Model = Any  # xpnet.Model, which imports this module


def data_fits(model: Model, data: Sequence[Array], batch_size: int) -> bool:
    """Whether these arrays can be on the device beside what a step of training takes there.

    On a device without memory of its own they always can: there they are where they have to be.
    """
    free = model.backend.free_bytes()
    if free is None or all(model.backend.owns(array) for array in data):
        return True
    return _bytes(model, data) + sum(_of_step(model, data, batch_size)) <= free


@contextlib.contextmanager
def told_of(backend: Backend, needed: Callable[[], str]) -> Iterator[None]:
    """BackendError in place of what the array library raises where there is too little memory.

    `needed` is asked then what there should be room for, and what may help.
    """
    try:
        yield
    except Exception as error:
        if not backend.is_out_of_memory(error):
            raise
        free = backend.free_bytes()
        there = f"{short(_of_host())}B in this machine" if free is None else f"{short(free)}B free"
        raise BackendError(
            f"{backend}: out of memory: there are {there}; expected room for {needed()}"
        ) from error


def needed_by_fit(model: Model, data: Sequence[Array], batch_size: int) -> str:
    """What `Model.fit` needs room for, and what makes that less."""
    return (
        f"the data, {short(_bytes(model, data))}B, and a step of {batch_size} examples, "
        f"{_of_step(model, data, batch_size)}; a smaller batch_size or micro_batch takes less"
    )


def _bytes(model: Model, data: Sequence[Array]) -> int:
    """What these arrays, or lists, take on the device."""
    return sum(math.prod(np.shape(array)) for array in data) * model.backend.itemsize


def _of_step(model: Model, data: Sequence[Array], batch_size: int) -> StepMemory:
    return model.step_memory(np.shape(data[0])[1:], batch_size)


def _of_host() -> int:
    """The memory of this machine; 0 where the system does not tell."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 0

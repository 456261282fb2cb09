"""xpnet, by its public interface."""

from collections.abc import Iterator
from typing import Any

import numpy as np

import xpnet
from bench.contestants._contestant import Contestant, Unavailable
from bench.workloads import SEED, Part, Workload
from xpnet.backend import Backend
from xpnet.errors import BackendError
from xpnet.nn import Sequential


def find_device(contestant: Contestant) -> str:
    """The contestant's device, by the name that its backend uses."""
    return "gpu" if (contestant.library, contestant.device) == ("jax", "cuda") else contestant.device


def find_backend(contestant: Contestant) -> Backend:
    """The contestant's backend. Raises Unavailable where it cannot be used."""
    try:
        return xpnet.backend.get(contestant.library, find_device(contestant))
    except BackendError as error:
        raise Unavailable(str(error)) from error


def switch_numba(contestant: Any, on: bool) -> None:
    """Let xpnet on NumPy run its loops through Numba in the contestant's process, or in NumPy's passes."""
    if contestant.library == "numpy":
        contestant.environment = {"XPNET_FAST": "1" if on else "0"}
        contestant.also = ("numba",) if on else ()


class XPNet(Contestant):
    """`Model.fit`, one epoch for each call; unlike the others it also counts wrong predictions.

    With L2, each step computes the penalty, too, and adds it to the loss. The others report the loss alone:
    for the comparison, the mean of the penalties at the epoch's start and end is taken off.
    """

    def __init__(
        self, backend: str, device: str = "cpu", precision: str = "float32", *, numba: bool = False
    ) -> None:
        super().__init__(device, precision)
        self.library = backend
        switch_numba(self, numba)

    def prepare(self, workload: Workload, parts: list[Part]) -> None:
        find_backend(self)
        self.penalty = workload.penalty
        self.model = xpnet.Model(
            Sequential(*workload.layers),
            xpnet.losses.CrossEntropy(),
            workload.optimizer,
            self.library,
            SEED,
            device=find_device(self),
            l2=workload.l2,
        )
        self.model.params = workload.initial_params()
        self.parts = [self.model.prepare(x, y) for x, y in parts]
        self.batch_size = workload.batch_size

    def epoch(self, number: int) -> float:
        x, y = self.parts[number % len(self.parts)]
        before = self.penalty(self.weights())
        history = self.model.fit(x, y, epochs=1, batch_size=self.batch_size, progress=False)
        self.model.backend.synchronize()
        return history[0].train_loss - (before + self.penalty(self.weights())) / 2

    def weights(self) -> Iterator[np.ndarray]:
        fetch = self.model.backend.to_numpy
        return (fetch(params["weight"]) for params in self.model.params if "weight" in params)

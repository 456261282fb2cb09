"""xpnet, by its public interface."""

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


class XPNet(Contestant):
    """`Model.fit`, one epoch for each call; unlike the others it also counts wrong predictions."""

    def __init__(self, backend: str, device: str = "cpu", precision: str = "float32") -> None:
        super().__init__(device, precision)
        self.library = backend

    def prepare(self, workload: Workload, parts: list[Part]) -> None:
        find_backend(self)
        self.model = xpnet.Model(
            Sequential(*workload.layers),
            xpnet.losses.CrossEntropy(),
            workload.optimizer,
            self.library,
            SEED,
            device=find_device(self),
        )
        self.model.params = workload.initial_params()
        self.parts = [self.model.prepare(x, y) for x, y in parts]
        self.batch_size = workload.batch_size

    def epoch(self, number: int) -> float:
        x, y = self.parts[number % len(self.parts)]
        history = self.model.fit(x, y, epochs=1, batch_size=self.batch_size, progress=False)
        self.model.backend.synchronize()
        return history[0].train_loss

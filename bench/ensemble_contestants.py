"""K networks at once: xpnet's ensembles, K fits one after the other, and what PyTorch and JAX have for it.

All train the same networks from the same weights by the same steps, and sum the training loss of each. With
the order "each", every network sees the examples in the order that its seed draws, as K fits do; with
"shared", and in PyTorch and JAX, all of them see the order of the first.
"""

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np

import xpnet
from bench.contestants import Contestant
from bench.contestants._jax import ScannedJAX, first_state, import_jax, training_step
from bench.contestants._torch import PyTorch, import_torch, network
from bench.contestants._xpnet import find_backend, find_device, switch_numba
from bench.workloads import Workload, batches, convolve, dense, parts
from xpnet.losses import CrossEntropy
from xpnet.nn import Flatten, Linear, MaxPool2d, ReLU, Sequential
from xpnet.optim import SGD

REFERENCES = K_FITS, TORCH, JAX = "K fits", "torch.func.vmap", "jax.vmap"


@dataclass(frozen=True)
class Case:
    """K networks; network k starts from the weights of seed k. An epoch is the data set."""

    workload: Workload
    networks: int

    @property
    def name(self) -> str:
        return f"{self.networks} of {self.workload.name}"


def case(name: str, networks: int, *layers: Any, shape: tuple[int, ...], examples: int = 6_400) -> Case:
    rule = SGD(0.01, momentum=0.9)
    return Case(Workload(name, shape, layers, rule, 64, examples, 9, data_set=examples), networks)


CASES = {
    each.name: each
    for each in (
        case("20-32-10", 32, *dense(ReLU, 20, 32, 10), shape=(20,)),
        case("784-128-10", 8, *dense(ReLU, 784, 128, 10), shape=(784,)),
        case(
            "two convolutions on 8x8 images",
            8,
            *(*convolve(3, 1, 8, padding="same"), MaxPool2d(2)),
            *(*convolve(3, 8, 16, padding="same"), MaxPool2d(2), Flatten(), Linear(64, 10)),
            shape=(8, 8, 1),
        ),
    )
}


class XPNetNetworks(Contestant):
    """K networks of xpnet.

    Arguments:
        library: the backend.
        way: "K fits", or the order of an ensemble's examples, "each" or "shared".
        device: "cpu" or "cuda".
        numba: whether NumPy's loops are Numba's.
    """

    def __init__(self, library: str, way: str, device: str = "cpu", *, numba: bool = False) -> None:
        super().__init__(device)
        self.library, self.way = library, way
        switch_numba(self, numba)

    def prepare(self, case: Case) -> None:
        find_backend(self)
        workload, seeds = case.workload, range(case.networks)
        self.batch_size = workload.batch_size
        made = Sequential(*workload.layers), CrossEntropy(), workload.optimizer, self.library
        device = find_device(self)
        self.ensemble: Any = None
        if self.way == K_FITS:
            self.models = [xpnet.Model(*made, seed, device=device) for seed in seeds]
        else:
            self.ensemble = xpnet.Ensemble(*made, seeds, device=device)
            self.models = list(self.ensemble)
        for seed, model in enumerate(self.models):
            model.params = workload.initial_params(seed)
        [examples] = parts(workload, workload.images)
        self.examples = self.models[0].prepare(*examples)

    def epoch(self, number: int) -> list[float]:
        fit: dict[str, Any] = {"epochs": 1, "batch_size": self.batch_size, "progress": False}
        if self.ensemble is not None:
            losses = self.ensemble.fit(*self.examples, shuffle=self.way, **fit)[0].train_loss.tolist()
        else:
            losses = [model.fit(*self.examples, **fit)[0].train_loss for model in self.models]
        self.models[0].backend.synchronize()
        return losses


class TorchVmap(PyTorch):
    """PyTorch's model ensembling: `torch.func.vmap` over modules whose parameters are stacked, and autograd.

    A fused optimizer updates the stacked parameters.
    """

    def prepare(self, case: Case) -> None:
        torch, workload = import_torch(self.device), case.workload
        self.torch, self.batch_size = torch, workload.batch_size
        nets = [network(torch, workload, seed).to(self.device) for seed in range(case.networks)]
        params, buffers = torch.func.stack_module_state(nets)
        one = copy.deepcopy(nets[0]).to("meta")

        def loss(params: Any, buffers: Any, x: Any, y: Any) -> Any:
            return torch.nn.functional.cross_entropy(torch.func.functional_call(one, (params, buffers), x), y)

        losses = torch.func.vmap(loss, in_dims=(0, 0, None, None))
        self.losses = lambda x, y: losses(params, buffers, x, y)
        rule = workload.optimizer
        self.optimizer = torch.optim.SGD(
            params.values(), lr=rule.learning_rate, momentum=rule.momentum, fused=True
        )
        [self.examples] = self.placed(workload, parts(workload, workload.images), torch.contiguous_format)

    def epoch(self, number: int) -> list[float]:
        torch, (x, y) = self.torch, self.examples
        order = torch.from_numpy(batches(len(x), self.batch_size, number)).to(self.device)
        totals: Any = 0.0
        for index in order:
            self.optimizer.zero_grad(set_to_none=True)
            losses = self.losses(x[index], y[index])
            losses.sum().backward()
            self.optimizer.step()
            totals = totals + losses.detach()
        return (totals / len(order)).tolist()


class JAXVmap(ScannedJAX):
    """JAX with `jax.vmap` of the step over the networks, jitted, in a `lax.scan` over the epoch's batches."""

    def prepare(self, case: Case) -> None:
        workload, self.networks = case.workload, case.networks
        self.require_fast_loops(workload)
        jax, device = import_jax(self.device)
        self.jax, self.batch_size = jax, workload.batch_size
        learn = jax.vmap(training_step(jax, workload), in_axes=(0, None, None))
        self.compile(lambda state, x, y, index: learn(state, x[index], y[index]))
        states = [first_state(workload, seed) for seed in range(case.networks)]
        self.state = jax.device_put(jax.tree.map(lambda *arrays: np.stack(arrays), *states), device)
        [(x, y)] = parts(workload, workload.images)
        self.parts = jax.device_put([(x, y.astype(np.int32))], device)

    def epoch(self, number: int) -> list[float]:
        return self.mean_losses(number, (self.networks,)).tolist()


def in_place(device: str, libraries: dict[str, tuple[str, bool]]) -> dict[str, Contestant]:
    found: dict[str, Contestant] = {
        f"xpnet on {name}: {way}": XPNetNetworks(library, way, device, numba=numba)
        for name, (library, numba) in libraries.items()
        for way in (K_FITS, "each", "shared")
    }
    return found | {TORCH: TorchVmap(device), JAX: JAXVmap(device)}


OF_ALL = {"PyTorch": ("torch", False), "JAX": ("jax", False)}
ENSEMBLE_CONTESTANTS: dict[str, Contestant] = {
    name + contestant.place: contestant
    for group in (
        in_place("cpu", {"NumPy": ("numpy", False), "NumPy with Numba": ("numpy", True)} | OF_ALL),
        in_place("cuda", {"CuPy": ("cupy", False)} | OF_ALL),
    )
    for name, contestant in group.items()
}

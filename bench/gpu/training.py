"""How long training steps take, and what the first one costs."""

import importlib
import os
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import numpy as np

import xpnet
from bench.gpu.card import Card, Line, Quantities, Scale, captures, nodes
from bench.workloads import dense
from xpnet import data, losses, nn, optim
from xpnet.backend import Backend
from xpnet.train import networks
from xpnet.train.config import parse

ROOT = Path(__file__).parents[2]
WAYS: dict[str, dict[str, bool]] = {
    "graph": {},
    "kernel by kernel": {"as_graph": False},
    "graph, TF32": {"tf32": True},
}


def lines(card: Card) -> Iterator[Line]:
    yield "first training of 784-64-10", lambda: first_training(card)
    for name, case in cases(card.scale).items():
        for way, options in WAYS.items():
            yield f"{name}, {way}", lambda case=case, options=options: step(card, case, **options)
    for k in card.scale.networks:
        yield f"{k} of 784-64-10, batch 128", lambda k=k: ensemble(card, k)


class Case(NamedTuple):
    """A training, and the shape of an example."""

    net: nn.Layer
    optimizer: optim.Optimizer
    batch_size: int
    shape: tuple[int, ...] = (784,)
    l2: float = 0.0
    loss: losses.Loss = losses.CrossEntropy()
    augment: data.augment.Augmentation | None = None


def cases(scale: Scale) -> dict[str, Case]:
    """Trainings with learning rates so low that numbers drawn at random do not let them diverge."""

    def mlp(width: int) -> nn.Layer:
        return nn.Sequential(*dense(nn.ReLU, 784, width // scale.widths, width // scale.widths, 10))

    file = ["--config", str(ROOT / "scripts/configs/cifar10.yaml"), "--learning-rate", "0.001"]
    narrow = [] if scale.widths == 1 else ["--channels", "4", "4", "4", "4"]
    config, shape = parse([*file, *narrow], prog="bench.gpu")[0], (32, 32, 3)
    found = {
        "784-512-512-10, batch 128, SGD": Case(mlp(512), optim.SGD(0.001), 128),
        "784-512-512-10, batch 128, Nesterov and L2": Case(
            mlp(512), optim.SGD(0.001, 0.9, nesterov=True), 128, l2=3e-5
        ),
        "784-512-512-10, batch 128, Adam": Case(mlp(512), optim.Adam(0.001), 128),
        "784-2048-2048-10, batch 512, SGD": Case(mlp(2048), optim.SGD(0.001), 512),
        f"cifar10.yaml, batch {config.batch_size}": Case(
            networks.build(config, shape, 10), config.make_optimizer(), config.batch_size, shape,
            config.l2, config.make_loss(), config.make_augmentation(),
        ),
    }  # fmt: skip
    return {
        name: case._replace(batch_size=max(2, case.batch_size // scale.batches))
        for name, case in found.items()
    }


def step(card: Card, case: Case, as_graph: bool = True, tf32: bool = False) -> Quantities:
    model = xpnet.Model(
        case.net, case.loss, case.optimizer, "cupy", l2=case.l2, augment=case.augment, tf32=tf32
    )
    if not as_graph:
        plain = Backend.compile_loop(model.backend, model._program.run_steps.step)
        object.__setattr__(model._program, "run_steps", plain)
    return trained(card, model, case.shape, batch_size=case.batch_size)


def ensemble(card: Card, k: int) -> Quantities:
    net = nn.Sequential(*dense(nn.ReLU, 784, 64, 10))
    made = xpnet.Ensemble(net, losses.CrossEntropy(), optim.SGD(0.001), "cupy", seeds=range(k))
    batch_size = max(2, 128 // card.scale.batches)
    found = trained(card, made, (784,), batch_size=batch_size, shuffle="shared")
    return {"µs a step and network": found["µs a step"] / k, **found}


def trained(card: Card, model: Any, shape: tuple[int, ...], batch_size: int, **options: Any) -> Quantities:
    """The time of a step in `fit`, that of its graph alone, and the number of the graph's nodes."""
    n = batch_size * card.scale.steps
    x, y = card.drawn(n, *shape), card.labels(n)
    with captures() as graphs:
        model.fit(x, y, epochs=1, batch_size=batch_size, **options)
    epochs = model.fit(x, y, epochs=card.scale.rounds, batch_size=batch_size, **options)
    seconds = statistics.median(float(np.max(epoch.seconds)) for epoch in epochs)
    found: Quantities = {"µs a step": 1e6 * seconds / card.scale.steps}
    for graph in graphs:
        found |= {"µs on the card alone": card.microseconds(graph.launch), "nodes": nodes(graph)}
    return found


def first_training(card: Card) -> Quantities:
    """An epoch of a network whose kernels the process has not used before."""
    compiled: list[float] = []
    program = importlib.import_module("cupy.cuda.compiler")._NVRTCProgram

    def timed(self: Any, *arguments: Any, own: Any = program.compile, **options: Any) -> Any:
        start = time.perf_counter()
        try:
            return own(self, *arguments, **options)
        finally:
            compiled.append(time.perf_counter() - start)

    anew = {"CUPY_CACHE_IN_MEMORY": "1"} if card.scale.compiles else {}
    case, start = Case(nn.Sequential(*dense(nn.ReLU, 784, 64, 10)), optim.SGD(0.001), 2), time.perf_counter()
    with mock.patch.object(program, "compile", timed), mock.patch.dict(os.environ, anew):
        model = xpnet.Model(case.net, case.loss, case.optimizer, "cupy")
        model.fit(card.drawn(8, 784), card.labels(8), epochs=1, batch_size=case.batch_size)
    found = {"s": time.perf_counter() - start, "kernels compiled": len(compiled)}
    return found | {"s in NVRTC": sum(compiled), "s for the longest": max(compiled, default=0.0)}

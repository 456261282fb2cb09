"""How cost grows: the networks of the scaling figure, and the memory that a step should need."""

import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

import xpnet
from bench.workloads import SEED, WORKLOADS, Workload, dense, parts
from xpnet.nn import ReLU, Sequential
from xpnet.optim import SGD

# Who is in the figure. Its reference is the second.
SCALED = ("xpnet on NumPy", "PyTorch eager", "limit: products")
EPOCH = 2e10  # floating-point operations: about 0.1 s on a small CPU, so that clocks and turns do not count


def point(name: str, *sizes: int, batch_size: int, data_set: int = 0) -> Workload:
    """A network of ReLUs between these sizes, trained for an epoch of `EPOCH` at most, or of the data set.

    The learning rate is one at which nothing grows out of bounds, even with batches of one image.
    """
    layers = dense(ReLU, *sizes)
    one_step = Workload(name, sizes[:1], layers, SGD(0.01), batch_size, batch_size, 8, data_set)
    steps = min(max(int(EPOCH / one_step.step_flops), 3), 200, one_step.data_set // batch_size)
    return replace(one_step, images=data_set or steps * batch_size)


# The panels of the figure: what grows, and a workload for each of its values.
PANELS: dict[str, dict[int, Workload]] = {
    "width": {
        width: point(f"width {width}", 784, width, width, 10, batch_size=128)
        for width in (16, 64, 256, 1024, 4096)
    },
    "depth": {
        depth: point(f"depth {depth}", 784, *[256] * depth, 10, batch_size=128)
        for depth in (1, 2, 4, 8, 16, 32)
    },
    "batch size": {
        n: point("batch size", 784, 512, 512, 10, batch_size=n) for n in (1, 4, 16, 64, 256, 1024, 4096)
    },
    "data set": {
        n: point(f"data set {n}", 784, 128, 10, batch_size=64, data_set=n)
        for n in (1_280, 5_120, 20_480, 81_920)
    },
}
POINTS = {workload.name: workload for panel in PANELS.values() for workload in panel.values()}

# Networks of which the memory of a step is measured, each with several batch sizes.
MEMORY: dict[str, dict[int, Workload]] = {
    WORKLOADS[name].network: {
        n: replace(WORKLOADS[name], batch_size=n, images=n, data_set=n)
        for n in (1, 4, 16, 64, 256, 1024, 4096)
    }
    for name in (
        "784-512-512-10 relu adam, batch 128",
        "conv5x5x16-pool-conv5x5x32-pool-128-10 relu, batch 128",
    )
}
PARTS = ("parameters", "gradients", "optimizer", "activations")


def memory_of_step(workload: Workload) -> tuple[dict[str, int], Callable[[], Any]]:
    """Bytes of a training step of xpnet on NumPy, as tracemalloc sees them, and the step itself.

    "peak" is the most there was at any time, without the data set; the `PARTS` are what of it has to be
    there: parameters, their gradients, the optimizer's state, and the residuals of all layers and of the
    loss, with the whole batch in the network at once. (In micro-batches there are fewer residuals.)
    """
    x, y = parts(workload, workload.images)[0]
    net, loss = Sequential(*workload.layers), xpnet.losses.CrossEntropy()
    tracemalloc.start()
    model = xpnet.Model(net, loss, workload.optimizer, seed=SEED)

    def step() -> None:
        model.fit(x, y, epochs=1, batch_size=workload.batch_size)

    step()  # some arrays are made in the first step and stay
    tracemalloc.reset_peak()
    step()
    found = {"peak": tracemalloc.get_traced_memory()[1]}
    tracemalloc.stop()
    prediction, residuals = net.forward(model.params, x)
    _, loss_residuals = loss.forward(prediction, y)
    found["parameters"] = found["gradients"] = own_bytes(model.params)
    found["optimizer"] = own_bytes(workload.optimizer.init(model.params))
    found["activations"] = own_bytes((residuals, loss_residuals), shared=model.params)
    return found, step


def own_bytes(arrays: Any, shared: Any = ()) -> int:
    """The bytes of these arrays, each memory counted once, and not what belongs to the `shared` ones."""
    owners = {id(owner): owner.nbytes for owner in map(owner_of, leaves(arrays))}
    return sum(n for key, n in owners.items() if key not in {id(owner_of(x)) for x in leaves(shared)})


def owner_of(array: np.ndarray) -> np.ndarray:
    """The array whose memory this one is a view of; itself if it has its own."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


def leaves(arrays: Any) -> Iterator[np.ndarray]:
    """The NumPy arrays in nested dicts and tuples, named tuples too; anything else is left out."""
    if isinstance(arrays, dict):
        arrays = tuple(arrays.values())
    if isinstance(arrays, tuple):
        for part in arrays:
            yield from leaves(part)
    elif isinstance(arrays, np.ndarray):
        yield arrays

"""The networks of the scaling figure, and the memory of their training steps."""

import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

import xpnet
from bench.workloads import SEED, WORKLOADS, Workload, dense, parts
from xpnet.nn import ReLU, Sequential
from xpnet.optim import SGD

# The contestants in the figure. The second one is the reference.
SCALED = ("xpnet on NumPy", "PyTorch eager", "limit: products")
EPOCH = 2e10  # floating-point operations: about 0.1 s on a small CPU, long beside the cost of a turn


def point(name: str, *sizes: int, batch_size: int, data_set: int = 0) -> Workload:
    """A dense ReLU network of these sizes. Its epoch is the data set, or takes `EPOCH` operations at most.

    The learning rate is small enough for batches of one image.
    """
    layers = dense(ReLU, *sizes)
    one_step = Workload(name, sizes[:1], layers, SGD(0.01), batch_size, batch_size, 8, data_set)
    steps = min(max(int(EPOCH / one_step.step_flops), 3), 200, one_step.data_set // batch_size)
    return replace(one_step, images=data_set or steps * batch_size)


# The panels of the figure: the quantity on the x axis, and a workload for each of its values.
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

# The networks whose step memory is measured, each at several batch sizes.
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
    """Bytes of a training step of xpnet on NumPy, measured by tracemalloc, and the step itself.

    "peak" is the largest total at any time, without the data set. `PARTS` are the bytes that a step cannot
    do without: parameters, gradients, the optimizer's state, and the residuals of all layers and of the loss
    with the whole batch in the network at once. (In micro-batches there are fewer residuals.)
    """
    x, y = parts(workload, workload.images)[0]
    net, loss = Sequential(*workload.layers), xpnet.losses.CrossEntropy()
    tracemalloc.start()
    model = xpnet.Model(net, loss, workload.optimizer, seed=SEED)

    def step() -> None:
        model.fit(x, y, epochs=1, batch_size=workload.batch_size, progress=False)

    step()  # the first step makes arrays that later steps reuse
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
    """The bytes of these arrays. Memory that several of them share counts once, that of `shared` ones not."""
    owners = {id(owner): owner.nbytes for owner in map(owner_of, leaves(arrays))}
    return sum(n for key, n in owners.items() if key not in {id(owner_of(x)) for x in leaves(shared)})


def owner_of(array: np.ndarray) -> np.ndarray:
    """The array that owns the memory of this one: itself, or the base of a view."""
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

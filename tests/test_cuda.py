"""Training on CuPy: what a captured step holds, threads, memory and devices.

All of it runs on the stand-in for CUDA (`cuda_on_cpu`), and on a GPU what does not look inside of the stand-in.
"""

import collections
import gc
import importlib
import os
import subprocess
import sys
import threading
import warnings
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.append(str(Path(__file__).parents[1]))  # bench is not an installed package

import cuda_on_cpu
import xpnet
from bench.gpu.card import captures, nodes
from conftest import MISSING
from laws import fetch
from xpnet import backend, data, losses, nn, optim, tree
from xpnet.backend._cupy import CuPyGraph
from xpnet.train import networks
from xpnet.train.command_line import parse

pytestmark = pytest.mark.gpu
if "cupy" in MISSING:
    pytest.skip(MISSING["cupy"], allow_module_level=True)
cupy = importlib.import_module("cupy")
cublas = pytest.importorskip("nvmath.bindings.cublas", reason="nvmath-python is not installed")
ROOT = Path(__file__).parents[1]
stand_in = pytest.mark.skipif(not cuda_on_cpu.is_installed(), reason="needs the stand-in for CUDA")


@pytest.fixture(autouse=True)
def _no_warnings_of_failed_captures():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def mlp(*hidden: int) -> nn.Sequential:
    sizes = (784, *hidden, 10)
    layers: list[nn.Layer] = []
    for n, m in pairwise(sizes):
        layers += [nn.Linear(n, m), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def cifar10() -> tuple[nn.Layer, optim.Optimizer, float]:
    config, _ = parse(["--config", str(ROOT / "scripts/configs/cifar10.yaml")], prog="test")
    return networks.build(config, (32, 32, 3), 10), config.make_optimizer(), config.l2


NETWORKS: dict[str, Any] = {
    "784-10": lambda: (mlp(), optim.SGD(0.1), 0.0),
    "784-512-512-10": lambda: (mlp(32, 32), optim.SGD(0.1), 0.0),
    "784-512-512-10, Nesterov, L2": lambda: (mlp(32, 32), optim.SGD(0.1, 0.9, nesterov=True), 1e-4),
    "784-512-512-10, Adam": lambda: (mlp(32, 32), optim.Adam(0.001), 0.0),
    "cifar10.yaml": cifar10,
}
KERNELS = {
    "784-10": 14,
    "784-512-512-10": 30,
    "784-512-512-10, Nesterov, L2": 42,
    "784-512-512-10, Adam": 35,
    "cifar10.yaml": 345,  # 88 of them for the statistics of the averaged weights
}

KERNELS_OF_NETWORKS = {
    ("dense", "each"): 57,
    ("dense", "shared"): 58,
    ("convolution", "each"): 49,
    ("convolution", "shared"): 50,
}


def examples(shape: tuple[int, ...], n: int = 40, classes: int = 10) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.normal(size=(n, *shape)), rng.integers(classes, size=n)


@stand_in
@pytest.mark.parametrize("name", NETWORKS)
def test_a_captured_step(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """No host transfer, no wait, no allocation outside the pool; how many kernels it has."""
    from cuda_on_cpu import device

    net, optimizer, l2 = NETWORKS[name]()
    n = 4
    x, y = examples((32, 32, 3) if name.startswith("cifar") else (784,), 3 * n)
    model = xpnet.Model(net, losses.CrossEntropy(), optimizer, "cupy", l2=l2)
    loop = model._program.run_steps
    counts: list[collections.Counter] = []

    def capture(self, function, capture=CuPyGraph.capture):
        before, total = device.state.counts.copy(), self.recorder.pool.total_bytes()
        used = device.state.used
        capture(self, function)
        counts.append(device.state.counts - before)
        assert device.state.used - used == self.recorder.pool.total_bytes() - total

    monkeypatch.setattr(CuPyGraph, "capture", capture)
    x, y = model.prepare(x, y)
    model.fit(x, y, epochs=1, batch_size=n)
    (found,) = counts
    work = {kind: number for kind, number in found.items() if kind.startswith("captured ")}
    print(name, sum(work.values()))
    assert sum(work.values()) == KERNELS[name]
    assert not any("host" in kind for kind in work)
    assert set(found) - set(work) <= {"allocation", "wait"}
    assert found["wait"] <= 1  # for the current stream, before the capture

    rows = model.backend.asarray(np.arange(3 * n).reshape(3, n))
    before = device.state.counts.copy()
    loop(model.state, (x, y), (rows, None), 0, 3)
    again = device.state.counts - before
    assert again["graph"] == 3
    assert not {"wait", "allocation", "copy from the host", "copy to the host"} & set(again)
    assert again.total() <= 2 * again["graph"]  # the positions of the batch, and the graph


ENSEMBLES: dict[str, Any] = {
    "dense": (lambda: nn.Sequential(nn.Linear(12, 8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 10)), (12,)),
    "convolution": (
        lambda: nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm(2), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(8, 10)),
        (6, 6, 1),
    ),
}  # fmt: skip


@pytest.mark.parametrize("shuffle", ["each", "shared"])
@pytest.mark.parametrize("name", ENSEMBLES)
def test_a_captured_step_of_many_networks(name: str, shuffle: str) -> None:
    """The number of kernels does not depend on the number of networks, and no value goes to the host."""
    make, shape = ENSEMBLES[name]
    found = []
    for k in (2, 5):
        rates = np.linspace(0.1, 0.2, k)
        ensemble = xpnet.Ensemble(
            make(), losses.CrossEntropy(), optim.SGD(rates, 0.9), "cupy", seeds=range(k)
        )
        with captures() as graphs:
            ensemble.fit(*examples(shape, 12), epochs=1, batch_size=4, shuffle=shuffle)
        (graph,) = graphs
        found.append(work(graph))
    few, many = found
    print(name, shuffle, few)
    assert few == many
    if cuda_on_cpu.is_installed():
        assert not any("host" in kind for kind in few)
        assert few.total() == KERNELS_OF_NETWORKS[name, shuffle]


def work(graph: CuPyGraph) -> collections.Counter:
    """How many nodes of each kind a graph has; by the driver on a GPU, which tells no kinds."""
    if not cuda_on_cpu.is_installed():
        return collections.Counter(nodes=nodes(graph))
    from cuda_on_cpu import device

    return collections.Counter(kind for kind, _ in device.state.graphs[graph.graph.graph])


def net() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding="same", bias=False), nn.BatchNorm(8), nn.ReLU(), nn.Flatten(), nn.Linear(512, 5)
    )  # fmt: skip


def fit(
    net: nn.Layer, loss: Any = None, optimizer: Any = None, captured: bool = True, x: Any = None, y: Any = None,
    library: str = "cupy", **options: Any,
) -> xpnet.Model:  # fmt: skip
    """A model after 3 epochs of 3 whole batches and a short one."""
    given = examples((8, 8, 3), 70, 5)
    x, y = given[0] if x is None else x, given[1] if y is None else y
    model = xpnet.Model(
        net, loss or losses.CrossEntropy(), optimizer or optim.SGD(0.01, 0.9), library, **options
    )
    loop = model._program.run_steps
    if library != "cupy":
        model.fit(x, y, epochs=3, batch_size=20)
        return model
    if not captured:
        plain = backend.Backend.compile_loop(model.backend, loop.step)
        object.__setattr__(model._program, "run_steps", plain)
    model.fit(x, y, epochs=3, batch_size=20)
    assert len(loop.captured) == (2 if captured else 0)
    return model


def dense(activation: nn.Layer) -> nn.Sequential:
    return nn.Sequential(nn.Flatten(), nn.Linear(192, 16), activation, nn.Linear(16, 5))


def residual() -> nn.Sequential:
    return nn.Sequential(nn.Residual(nn.Conv2d(3, 3, 3, padding="same")), nn.GlobalAvgPool(), nn.Linear(3, 5))


AUGMENTED = data.augment.Compose(
    data.augment.RandomCrop(1), data.augment.HorizontalFlip(), data.augment.Cutout(2)
)
CAPTURED: dict[str, Any] = {
    "Lion": (net, losses.CrossEntropy(), optim.Lion(0.001), {}),
    "GELU": (lambda: dense(nn.GELU()), losses.CrossEntropy(), optim.SGD(0.1), {}),
    "GELU by tanh": (lambda: dense(nn.GELU("tanh")), losses.CrossEntropy(), optim.SGD(0.1), {}),
    "MeanAbsoluteError": (net, losses.MeanAbsoluteError(), optim.Adam(0.01), {}),
    "clipped, in micro-batches": (lambda: dense(nn.Dropout(0.2)), losses.CrossEntropy(), optim.ClipNorm(optim.RMSprop(0.001), 1.0), {"micro_batch": 8}),
    "augmented, averaged": (residual, losses.CrossEntropy(), optim.AverageWeights(optim.SGD(0.05, 0.9, nesterov=True), 0.9), {"augment": AUGMENTED}),
}  # fmt: skip


@pytest.mark.parametrize("name", CAPTURED)
def test_captured_steps_give_what_steps_kernel_by_kernel_and_numpy_give(name: str) -> None:
    make, loss, optimizer, options = CAPTURED[name]
    y = np.eye(5)[examples((), 70, 5)[1]] if name == "MeanAbsoluteError" else None
    found, plain, host = (
        dict(tree.items(fetch(model.backend, model._variables())))
        for model in (
            fit(make(), loss, optimizer, graphs, y=y, dtype="float64", library=library, **options)
            for library, graphs in (("cupy", True), ("cupy", False), ("numpy", False))
        )
    )
    for name, array in plain.items():
        np.testing.assert_allclose(found[name], array, rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(found[name], host[name], rtol=1e-8, atol=1e-10)


def test_a_graph_keeps_its_memory_to_itself() -> None:
    """What is allocated between two replays is not overwritten, and does not change what they compute."""
    found, plain = fit(net()), fit(net())
    x, y = examples((8, 8, 3), 70, 5)
    assert found._program.run_steps.recorder.pool.total_bytes() > 0
    sizes = [512 << i for i in range(12)] * 16
    others = [cupy.full(n // 4, np.nan, np.float32) for n in sizes]
    for model in (found, plain):
        model.fit(x, y, epochs=1, batch_size=20)
    for array in others:
        assert bool(cupy.isnan(array).all())
    for name, array in tree.items(plain.params):
        assert cupy.array_equal(dict(tree.items(found.params))[name], array), name


def test_models_train_in_threads() -> None:
    expected = fit(net())
    found: list[Any] = [None] * 3

    def run(i: int) -> None:
        try:
            found[i] = fit(net())
        except BaseException as error:
            found[i] = error

    threads = [threading.Thread(target=run, args=(i,)) for i in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for model in found:
        assert isinstance(model, xpnet.Model), model
        for name, array in tree.items(expected.params):
            assert cupy.array_equal(dict(tree.items(model.params))[name], array), name


def used() -> int:
    """Bytes of the device's memory, without what CuPy keeps for other arrays."""
    gc.collect()
    cupy.get_default_memory_pool().free_all_blocks()
    free, total = cupy.cuda.runtime.memGetInfo()
    return total - free


def test_memory_is_level_over_fits_and_models() -> None:
    """Ten times: CuPy allocates 512 bytes at least, so that more than 4096 are gone if each time one array stays."""
    if not cuda_on_cpu.is_installed() and "PYTEST_XDIST_WORKER" in os.environ:
        pytest.skip("needs the GPU for itself: without -n")
    x, y = examples((8, 8, 3), 70, 5)
    model = fit(net())
    model.fit(x, y, epochs=1, batch_size=20)
    before = used()
    for _ in range(10):
        model.fit(x, y, epochs=1, batch_size=20)
    assert used() <= before + 4096
    del model
    after = used()
    for _ in range(10):
        fit(net(), losses.CrossEntropy(class_weights=tuple(np.random.default_rng(0).random(5))))
        assert used() <= after + 4096
    assert after < before


@stand_in
def test_a_process_has_one_handle_of_cublas_a_device() -> None:
    for _ in range(3):
        fit(net())
    assert 1 <= len(cublas.streams) <= cupy.cuda.runtime.getDeviceCount()


FIRST = """
import cuda_on_cpu, os
if os.environ.get("CUDA_ON_CPU"): cuda_on_cpu.install()
import gc, weakref, numpy as np, xpnet
from xpnet import losses, nn, optim
model = xpnet.Model(nn.Linear(4, 3), losses.CrossEntropy(), optim.Adam(0.1), "cupy")
model.fit(np.zeros((20, 4)), np.zeros(20, int), epochs=1, batch_size=5)
model = weakref.ref(model)
gc.collect()
print(model())
"""


def test_the_first_model_of_a_process_is_freed() -> None:
    done = subprocess.run([sys.executable, "-c", FIRST], capture_output=True, text=True, cwd=ROOT / "tests")
    assert done.stdout.split() == ["None"], done.stderr


def test_chunks_of_data_share_a_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    """One for whole batches and one for the last, short one, however many chunks and epochs there are."""
    monkeypatch.setattr("xpnet.data.stream.CHUNK_BYTES", 2 * 20 * 192 * 4)
    x, y = examples((8, 8, 3), 130, 5)
    captures = []

    def capture(self, function, capture=CuPyGraph.capture):
        captures.append(self)
        capture(self, function)

    monkeypatch.setattr(CuPyGraph, "capture", capture)
    streamed, held = (
        xpnet.Model(net(), losses.CrossEntropy(), optim.SGD(0.01, 0.9), "cupy") for _ in range(2)
    )
    streamed.fit(x, y, epochs=3, batch_size=20, data_on_device=False)
    assert len(captures) == 2
    held.fit(x, y, epochs=3, batch_size=20)
    for name, array in tree.items(held.params):
        assert cupy.array_equal(dict(tree.items(streamed.params))[name], array), name


def test_another_thread_trains_on_the_model_s_device() -> None:
    count = cupy.cuda.runtime.getDeviceCount()
    if count < 2:
        pytest.skip("needs two GPUs")
    x, y = examples((8, 8, 3), 70, 5)
    cupy.cuda.Device(0).use()
    expected = fit(net())
    try:
        model = xpnet.Model(net(), losses.CrossEntropy(), optim.SGD(0.01, 0.9), "cupy", device="cuda:1")
    finally:
        cupy.cuda.Device(0).use()
    problems: list[BaseException] = []

    def run() -> None:
        try:
            model.fit(x, y, epochs=3, batch_size=20)
            model.evaluate(x, y)
            model.forward(x)
            model.backward(y)
            model.step()
        except BaseException as error:
            problems.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert problems == []
    assert {array.device.id for array in tree.leaves(model.params)} == {1}
    assert model.history[-1].train_loss == expected.history[-1].train_loss


@pytest.mark.parametrize(("tf32", "variable"), [(False, None), (True, None), (False, "1")])
def test_products_of_a_captured_step_use_tf32_if_told(
    tf32: bool, variable: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = set()
    product = cublas.gemm_strided_batched_ex

    def noted(*arguments: Any) -> None:
        found.add(arguments[-2])
        product(*arguments)

    monkeypatch.setattr(cublas, "gemm_strided_batched_ex", noted)
    if variable:
        monkeypatch.setenv("CUPY_TF32", variable)
    else:
        monkeypatch.delenv("CUPY_TF32", raising=False)
    fit(net(), tf32=tf32)
    kinds = cublas.ComputeType
    assert found == {kinds.COMPUTE_32F_FAST_TF32 if tf32 or variable else kinds.COMPUTE_32F}


@pytest.mark.parametrize("shape", [(4096, 3), (5000, 7), (4099, 2), (131072, 4), (2, 6000, 3), (100, 5)])
def test_sums_of_many_rows(shape: tuple[int, ...]) -> None:
    """Of many rows in two stages, unless their number is prime."""
    x = np.random.default_rng(0).normal(size=shape)
    for order in (x, np.ascontiguousarray(x.mT).mT):
        rows = cupy.asarray(order)
        np.testing.assert_allclose(
            backend.ops(rows).sum_of_rows(rows).get(), x.sum(axis=-2), rtol=1e-10, atol=1e-10
        )
    if cuda_on_cpu.is_installed():
        from cuda_on_cpu import device

        before = device.state.counts.copy()
        backend.ops(rows).sum_of_rows(rows)
        stages = 1 if shape[-2] in (4099, 100) else 2
        assert sum(n for kind, n in (device.state.counts - before).items() if kind != "allocation") == stages


@stand_in
def test_the_memory_of_a_step_is_what_it_is_told_to_be() -> None:
    """Of a network of convolutions, whose windows take most of it."""
    layers = [nn.Conv2d(3, 8, 3, padding="same"), nn.ReLU(), nn.Conv2d(8, 64, 3, padding="same"), nn.ReLU()]
    model = xpnet.Model(
        nn.Sequential(*layers, nn.GlobalAvgPool(), nn.Linear(64, 5)),
        losses.CrossEntropy(),
        optim.SGD(0.1),
        "cupy",
    )
    x, y = examples((16, 16, 3), 70, 5)
    model.fit(x, y, epochs=1, batch_size=32)
    taken = model._program.run_steps.recorder.pool.total_bytes()
    told = model.step_memory((16, 16, 3), 32)
    print("TOLD", told, "TAKEN", taken)
    assert 0.7 < (sum(told) - told.parameters - told.optimizer_state) / taken < 1.3

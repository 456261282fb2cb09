"""Training in child processes and in several threads: it ends, gives the parent's bits, and shares the cores.

Each program runs in a process of its own: libraries that other tests import warn of a fork.
"""

import os
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import threadpoolctl

import xpnet
from xpnet import losses, nn, optim
from xpnet.backend import NumPy, _numpy_threads
from xpnet.nn.activations import Identity

# The convolution splits a batch into two parts, and the parts wait for each other in batch normalisation.
PROGRAM = """
import multiprocessing, os, signal, sys, threading, time
from concurrent.futures import ProcessPoolExecutor

import numpy as np

import xpnet
from xpnet import losses, nn, optim, tree
from xpnet.backend import NumPy, _numpy_threads

NETS = {
    (5,): nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 3)),
    (8, 8, 1): nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm(4), nn.ReLU(), nn.GlobalAvgPool(), nn.Linear(4, 3)),
}


def train(_=None, epochs=2, **options):
    signal.alarm(50)  # ends a child that hangs, after its parent gave up
    NumPy.workers, NumPy.part_bytes = 2, (1, 16 << 20)
    rng, found = np.random.default_rng(0), b""
    for shape, net in NETS.items():
        x, y = rng.normal(size=(32, *shape)), np.arange(32) % 3
        model = xpnet.Model(net, losses.CrossEntropy(), optim.SGD(0.1, 0.9))
        model.fit(x, y, epochs=epochs, batch_size=16, **options)
        found += model.predict_proba(x).tobytes()
        found += b"".join(array.tobytes() for array in tree.leaves((model.params, model.statistics)))
    return found


def in_fork(function):
    "The result of the function in a child; a child that hangs is ended by its alarm."
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        with os.fdopen(writing, "wb") as file:
            file.write(function())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as file:
        found = file.read()
    os.waitpid(child, 0)
    return found


if __name__ == "__main__":
    expected = train()
"""
WAYS = {
    "os.fork": "found = [in_fork(train), in_fork(lambda: in_fork(train))]",
    "fork": """
with multiprocessing.get_context("fork").Pool(2) as pool:
    found = pool.map_async(train, range(3)).get(timeout=50)""",
    "spawn": """
with multiprocessing.get_context("spawn").Pool(1) as pool:
    found = pool.map_async(train, range(2)).get(timeout=50)""",
    "executor": """
with ProcessPoolExecutor(2, multiprocessing.get_context("fork")) as pool:
    found = list(pool.map(train, range(3), timeout=50))""",
    "while another thread trains": """
thread = threading.Thread(target=train, kwargs={"epochs": 1 << 20, "callbacks": [Until()]}, daemon=True)
thread.start()
time.sleep(0.05)
found = [in_fork(train) for _ in range(5)]
enough.set()
thread.join()
found.append(train())""",
    "in a step": """
expected = b"".join([b"1", train()])
found = [in_a_layer()]""",
    "while data is read": """
from xpnet.data import stream
chunks = stream.prefetched(lambda item: item, b"abcd")
head = next(chunks)
expected = b"bcd"
found = [in_fork(lambda: bytes(chunks)), bytes(chunks)]""",
}
HELPERS = """
enough = threading.Event()


class Until(xpnet.Callback):
    def on_step(self, model, step, n_steps):
        if enough.is_set():
            model.stop()


class Forks(nn.ReLU):
    "A layer that starts a process, from a thread of the pool too."
    examples = "independent"
    found = []

    def forward(self, params, x):
        if x.shape[0] == 8:
            self.found.append(in_fork(lambda: b"1"))
        return super().forward(params, x)

    def backward(self, params, residuals, dy):
        return super().backward(params, residuals, dy)


def in_a_layer():
    net = nn.Sequential(nn.Conv2d(1, 4, 3), Forks(), nn.GlobalAvgPool(), nn.Linear(4, 3))
    model = xpnet.Model(net, losses.CrossEntropy(), optim.SGD(0.1))
    model.fit(np.zeros((16, 8, 8, 1)), np.zeros(16, int), epochs=1, batch_size=16)
    assert len(Forks.found) == 2
    return Forks.found[0] + train()
"""


def run(tmp_path: Path, program: str, **environment: str) -> None:
    """Run a program, on all cores; its assertions are the test."""
    main = PROGRAM.replace("if __name__", HELPERS + "\n\nif __name__") + "".join(
        f"    {line}\n" for line in program.strip().splitlines()
    )
    path = tmp_path / "program.py"
    path.write_text(main)
    inherited = {key: value for key, value in os.environ.items() if not key.endswith("_NUM_THREADS")}
    command = [sys.executable, "-W", "ignore::DeprecationWarning", str(path)]
    root = str(Path(xpnet.__file__).parents[1])
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=100,
        env=inherited | {"PYTHONPATH": root} | environment,
    )
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.parametrize("way", WAYS)
def test_a_child_trains_like_its_parent(way: str, tmp_path: Path) -> None:
    run(tmp_path, WAYS[way] + "\nassert len(found) > 0 and set(found) == {expected}, found")


@pytest.mark.parametrize("kind", ["loky", "multiprocessing", "threading"])
def test_joblib(kind: str, tmp_path: Path) -> None:
    pytest.importorskip("joblib", reason="joblib is not installed")
    program = f"""
import joblib
with joblib.parallel_config("{kind}"):
    found = joblib.Parallel(2, timeout=30)(joblib.delayed(train)() for _ in range(3))
    threads = joblib.Parallel(2, timeout=30)(joblib.delayed(_numpy_threads.allowed)() for _ in range(2))
assert set(found) == {{expected}}
if "{kind}" == "loky":  # the other kinds do not limit the threads in a process
    assert sum(threads) <= max(2, _numpy_threads.cores()), threads"""
    run(tmp_path, program)


class Active:
    """Counts the threads that compute at the same time."""

    def __init__(self) -> None:
        self.now, self.most, self.lock = 0, 0, threading.Lock()

    def __enter__(self) -> None:
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)

    def __exit__(self, *exception: object) -> None:
        with self.lock:
            self.now -= 1


ACTIVE = Active()


@dataclass(frozen=True, repr=False)
class Counted(Identity):
    """A layer that takes a moment, during which its thread counts as active."""

    examples = "independent"

    def forward(self, params: Any, x: Any) -> Any:
        with ACTIVE:
            threading.Event().wait(0.002)
        return super().forward(params, x)

    def backward(self, params: Any, residuals: Any, dy: Any) -> Any:
        return super().backward(params, residuals, dy)


@pytest.mark.parametrize("norm", [nn.Identity(), nn.BatchNorm(4)], ids=str)
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_no_more_threads_compute_than_blas_may_use(
    threads: int, norm: nn.Layer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when several threads call `fit`. The bits do not depend on it."""
    monkeypatch.setattr(NumPy, "workers", 4)
    monkeypatch.setattr(NumPy, "part_bytes", (1, 16 << 20))
    monkeypatch.setattr(_numpy_threads, "cores", lambda: 4)
    net = nn.Sequential(nn.Conv2d(1, 4, 3), Counted(), norm, Counted(), nn.GlobalAvgPool(), nn.Linear(4, 3))
    x, y = np.random.default_rng(0).normal(size=(16, 6, 6, 1)), np.arange(16) % 3

    def train(losses_found: list[float]) -> None:
        model = xpnet.Model(net, losses.CrossEntropy(), optim.SGD(0.1))
        losses_found.append(model.fit(x, y, epochs=3, batch_size=16)[-1].train_loss)

    expected: list[float] = []
    train(expected)
    found: list[float] = []
    ACTIVE.most = 0
    with threadpoolctl.threadpool_limits(threads, user_api="blas"):
        several = [threading.Thread(target=train, args=(found,)) for _ in range(3)]
        for thread in several:
            thread.start()
        for thread in several:
            thread.join()
    assert 1 < ACTIVE.most <= threads or ACTIVE.most == threads == 1
    assert found == expected * 3

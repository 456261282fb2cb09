"""How long work takes on an NVIDIA GPU with CuPy."""

import ctypes
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple
from unittest import mock

import numpy as np

from xpnet.backend._cupy import CuPyGraph, CuPyRecorder, _tools

Array = Any
Quantities = dict[str, Any]  # numbers by their unit, text by its name; None: unknown
Line = tuple[str, Callable[[], Quantities]]  # of the table: what is measured, and how
SMI = (
    *("name", "driver_version", "pstate", "clocks.sm", "clocks.max.sm"),
    *("power.draw", "power.limit", "temperature.gpu"),
)


class Scale(NamedTuple):
    """How much work is measured.

    Fields: divisors of batches, rows and widths; steps in an epoch, calls in a round, and rounds; the numbers
    of networks in ensembles; whether kernels that a cache on disk holds are compiled anew.
    """

    batches: int = 1
    rows: int = 1
    widths: int = 1
    steps: int = 100
    calls: int = 100
    rounds: int = 5
    networks: tuple[int, ...] = (1, 8, 64)
    compiles: bool = True


SMALL = Scale(64, 4096, 32, steps=2, calls=2, rounds=1, networks=(1, 2), compiles=False)


class Card:
    """A GPU: arrays on it, functions as graphs, and the time of a call.

    Arguments:
        backend: CuPy's, with nvmath-python.
        scale: how much work is measured.
    """

    def __init__(self, backend: Any, scale: Scale) -> None:
        self.backend, self.cupy, self.scale = backend, backend.library, scale
        self.rng = np.random.default_rng(0)
        self.stream, self.cublas = _tools(self.cupy, backend.cublas, backend.device.id)

    def drawn(self, *shape: int) -> Array:
        """Random float32 numbers between 0 and 1."""
        return self.cupy.asarray(self.rng.random(shape, np.float32))

    def labels(self, *shape: int) -> Array:
        """Random classes, of 10."""
        return self.cupy.asarray(self.rng.integers(10, size=shape))

    def microseconds(self, call: Callable[[], Any]) -> float:
        """The time of a call, of many one after the other: the median over the rounds, after one call."""
        call()
        times = []
        for _ in range(self.scale.rounds):
            self.backend.synchronize()
            start = time.perf_counter()
            for _ in range(self.scale.calls):
                call()
            self.backend.synchronize()
            times.append((time.perf_counter() - start) / self.scale.calls)
        return 1e6 * statistics.median(times)

    def recorder(self, tf32: bool = False) -> CuPyRecorder:
        return CuPyRecorder(self.cupy, self.backend.cublas, tf32)

    def graph(self, function: Callable[[], Any], tf32: bool = False) -> tuple[CuPyGraph, Any]:
        """The function as a graph with its own memory, and the results that its replays write."""
        graph, results = self.recorder(tf32).new_graph(), []
        graph.warm_up(function)
        graph.capture(lambda: results.append(function()))
        return graph, results[0]

    def condition(self) -> dict[str, str]:
        """What nvidia-smi says: clocks and power tell whether the card is slowed down."""
        if shutil.which("nvidia-smi") is None:
            return {"nvidia-smi": "is not there"}
        here = f"--id={self.cupy.cuda.Device().pci_bus_id}"
        command = ["nvidia-smi", here, f"--query-gpu={','.join(SMI)}", "--format=csv,noheader"]
        said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout
        return {name: value.strip() for name, value in zip(SMI, said.split(","), strict=True)}


@contextmanager
def captures() -> Iterator[list[CuPyGraph]]:
    """The graphs that are captured in the block."""
    graphs: list[CuPyGraph] = []

    def capture(self: CuPyGraph, function: Callable[[], None], own: Any = CuPyGraph.capture) -> None:
        own(self, function)
        graphs.append(self)

    with mock.patch.object(CuPyGraph, "capture", capture):
        yield graphs


def nodes(graph: CuPyGraph) -> int | None:
    """The number of nodes of a captured graph, by the driver; None on the stand-in for CUDA."""
    if os.environ.get("CUDA_ON_CPU"):
        return None
    driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    count = ctypes.c_size_t()
    if status := driver.cuGraphGetNodes(ctypes.c_void_p(graph.graph.graph), None, ctypes.byref(count)):
        raise RuntimeError(f"cuGraphGetNodes: error {status} of CUDA's driver")
    return count.value

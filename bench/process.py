"""The contestants' processes, and the settings that they run with."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from bench.environment import no_cuda_device, require_same_threads
from bench.workloads import SEED
from xpnet.random import generator

# Seconds before each turn. Idle OpenBLAS threads spin for about 0.1 s and take the cores from the next
# contestant: with a pause of 0.05 s PyTorch and NumPy took up to twice as long; 0.15 s and 0.3 s agree.
PAUSE = 0.2

# glibc returns large freed blocks to the system, and pays page faults when it allocates them again. "settled"
# keeps them in all contestants. xpnet on NumPy always keeps them, so the default is unfair to the others.
MALLOC: dict[str, dict[str, str]] = {
    "default": {},
    "settled": {"MALLOC_MMAP_THRESHOLD_": "4294967296", "MALLOC_TRIM_THRESHOLD_": "4294967296"},
}
# The same precision for all libraries. JAX must not reserve all memory of the GPU.
SHARED_GPU = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
PRECISION: dict[tuple[str, str], dict[str, str]] = {
    ("cpu", "float32"): {},
    ("cuda", "float32"): SHARED_GPU
    | {"NVIDIA_TF32_OVERRIDE": "0", "JAX_DEFAULT_MATMUL_PRECISION": "highest"},
    ("cuda", "tf32"): SHARED_GPU
    | {
        "CUPY_TF32": "1",
        "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE": "1",
        "JAX_DEFAULT_MATMUL_PRECISION": "tensorfloat32",
    },
}


class Worker:
    """A process that runs `python -m bench.worker`; a context manager that ends it.

    Arguments:
        name: the contestant's name, for messages.
        arguments: the command-line arguments of `bench.worker`.
        environment: environment variables to add.
    """

    def __init__(self, name: str, arguments: list[str], environment: dict[str, str]) -> None:
        self.name = name
        inherited = {key: value for key, value in os.environ.items() if key != "NVIDIA_TF32_OVERRIDE"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "bench.worker", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[1],
            env=inherited | environment,
        )

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *error: object) -> None:
        self.process.kill()
        self.process.communicate()

    def answer(self) -> dict[str, Any]:
        """The next message of the process. RuntimeError where it has ended."""
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.name}: its process ended with exit status {self.process.wait()}")
        return json.loads(line)

    def turn(self, order: int | str) -> dict[str, Any]:
        """The message after a turn: the epoch of that number, or passes through the layer of that name."""
        time.sleep(PAUSE)
        self.process.stdin.write(f"{order}\n")
        self.process.stdin.flush()
        return self.answer()


class Workers:
    """A process for each contestant; a context manager that ends them.

    Arguments:
        kind: what `bench.worker` runs.
        contestants: by their names, each with a device, a precision and an environment of its own.
        arguments: further arguments of `bench.worker`.
        malloc: a key of `MALLOC`.

    Attributes:
        hellos: the first message of each that can run: its library, GPU and number of threads.
        missing: for each other one the reason why it cannot.

    Raises RuntimeError where a process ends, or those on a CPU have different numbers of threads.
    """

    def __init__(self, kind: str, contestants: Mapping[str, Any], arguments: list[str], malloc: str) -> None:
        self.workers: dict[str, Worker] = {}
        self.hellos: dict[str, dict[str, Any]] = {}
        self.missing: dict[str, str] = {}
        with ExitStack() as stack:
            for name, contestant in contestants.items():
                if contestant.device == "cuda" and (why := no_cuda_device()):
                    self.missing[name] = why
                    continue
                precision = PRECISION[contestant.device, contestant.precision]
                environment = MALLOC[malloc] | precision | contestant.environment
                worker = Worker(name, [kind, name, *arguments], environment)
                self.workers[name] = stack.enter_context(worker)
            for name, worker in list(self.workers.items()):
                hello = worker.answer()
                if "unavailable" in hello:
                    self.missing[name] = hello["unavailable"]
                    del self.workers[name]
                else:
                    self.hellos[name] = hello
            require_same_threads({name: n for name, hello in self.hellos.items() if (n := hello["threads"])})
            self.stack = stack.pop_all()

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, *error: object) -> None:
        self.stack.close()

    def turns(self, orders: Iterable[int | str], names: Iterable[str] | None = None) -> dict[str, list[Any]]:
        """The answers of each: for each order all of them take a turn, in a random sequence."""
        answers: dict[str, list[Any]] = {name: [] for name in (self.workers if names is None else names)}
        rng = generator(SEED, "bench rounds")
        for order in orders:
            for name in rng.permutation(list(answers)):
                answers[name].append(self.workers[name].turn(order))
        return answers

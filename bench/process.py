"""A contestant's process, and the settings that it runs with."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

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

"""The machine and the installation, without array libraries."""

import os
import platform
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import threadpoolctl

from xpnet._util.version import NOT_INSTALLED, __version__

# Variables that change numbers or speed.
VARIABLES = (
    "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_CORETYPE", "CUDA_VISIBLE_DEVICES",
    "CUPY_TF32", "NVIDIA_TF32_OVERRIDE", "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE", "JAX_PLATFORMS",
    "JAX_ENABLE_X64", "JAX_DEFAULT_MATMUL_PRECISION", "XLA_FLAGS", "XLA_PYTHON_CLIENT_PREALLOCATE",
)  # fmt: skip


@dataclass(frozen=True)
class Machine:
    """The machine and the installation.

    Attributes:
        xpnet: the version of xpnet, or "not installed" for a checkout on the path.
        location: the folder of the package.
        python, executable, platform: the version and path of Python, and the system.
        cpu: the name of the CPU.
        cores: the number of cores that this process may use.
        memory: the bytes of memory; None if unknown.
        load: the number of processes that compete for the cores, over the last minute; None if unknown.
        blas: the BLAS of NumPy with its number of threads.
        gpus: a line for each NVIDIA GPU, with its memory and driver, by `nvidia-smi`.
        environment: the variables that are set and change numbers or speed.
    """

    xpnet: str
    location: str
    python: str
    executable: str
    platform: str
    cpu: str
    cores: int
    memory: int | None
    load: float | None
    blas: str
    gpus: tuple[str, ...]
    environment: dict[str, str]

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON values."""
        return asdict(self)


def describe() -> Machine:
    """This machine."""
    return Machine(
        xpnet="not installed" if __version__ == NOT_INSTALLED else __version__,
        location=str(Path(__file__).parents[2]),
        python=platform.python_version(),
        executable=sys.executable,
        platform=platform.platform(),
        cpu=cpu_name(),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        memory=memory(),
        load=os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        blas=blas(),
        gpus=nvidia_gpus(),
        environment={name: os.environ[name] for name in VARIABLES if name in os.environ},
    )


def cpu_name() -> str:
    """The name of the CPU, from Linux or from Python."""
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return next(filter(None, [*names, platform.processor(), platform.machine()]), "unknown")


def memory() -> int | None:
    """The bytes of the machine's memory; None if the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def blas() -> str:
    """The BLAS that NumPy uses: name, version, kernels for the CPU, threads."""
    loaded = [pool for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"]
    loaded.sort(key=lambda pool: "numpy" not in pool["filepath"])
    if not loaded:
        built = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
        return f"{built.get('name')} {built.get('version')}"
    pool = loaded[0]
    kernels = f" for {pool['architecture']}" if pool.get("architecture") else ""
    threads = "1 thread" if pool["num_threads"] == 1 else f"{pool['num_threads']} threads"
    return f"{pool['internal_api']} {pool['version']}{kernels}, {threads}"


def nvidia_gpus() -> tuple[str, ...]:
    """A line for each NVIDIA GPU: name, memory, driver. Empty without NVIDIA's driver."""
    query = ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, errors="replace", timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return ()
    lines = done.stdout.splitlines() if done.returncode == 0 else []
    fields = [[field.strip() for field in line.split(",")] for line in lines if line.count(",") == 2]
    return tuple(f"{name}, {memory}, driver {driver}" for name, memory, driver in fields)

"""What a measurement ran on: libraries, their versions and threads, GPU."""

import importlib
import os

import numpy as np

from bench.contestants import Contestant


def cores() -> int:
    """The number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def describe(contestant: Contestant) -> str:
    """The version of a contestant's library, and what computes its products: "numpy 2.4.6, openblas …"."""
    name = contestant.library
    version = f"{name} {importlib.import_module(name).__version__}"
    return f"{version}, {gpu(name) if contestant.device == 'cuda' else cpu(name)}"


def cpu(library: str) -> str:
    """What computes a library's matrix products on the CPU, and with how many threads."""
    if library == "torch":
        import torch

        return f"{torch.get_num_threads()} threads"
    if library == "jax":
        return f"{cores()} threads"
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    return f"{blas['name']} {blas['version']}, {blas_threads()}"


def blas_threads() -> str:
    """The threads of NumPy's BLAS; threadpoolctl, where it is installed, asks BLAS itself."""
    try:
        import threadpoolctl
    except ImportError:
        return f"{cores()} threads (if nothing in the environment says otherwise)"
    pools = threadpoolctl.threadpool_info()
    return f"{max(pool['num_threads'] for pool in pools if pool['user_api'] == 'blas')} threads"


def gpu(library: str) -> str:
    """The name of the GPU that a library uses."""
    if library == "torch":
        import torch

        return torch.cuda.get_device_name()
    if library == "jax":
        import jax

        return jax.devices("gpu")[0].device_kind
    import cupy

    return cupy.cuda.runtime.getDeviceProperties(cupy.cuda.Device().id)["name"].decode()

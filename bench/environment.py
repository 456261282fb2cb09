"""The environment of a measurement: libraries, versions, threads, GPU."""

import ctypes
import importlib
import os
import sys

import numpy as np
import threadpoolctl


def cores() -> int:
    """The number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def no_cuda_device() -> str | None:
    """Why no CUDA device can be used; None where one can."""
    try:
        driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return "no CUDA device: NVIDIA's driver is not installed"
    count = ctypes.c_int()
    if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)) or not count.value:
        return "no CUDA device: NVIDIA's driver finds none"
    return None


def describe(library: str, device: str, also: tuple[str, ...] = ()) -> str:
    """The versions of a library and of others, and its BLAS, threads or GPU: "numpy 2.4.6, openblas …"."""
    versions = ", ".join(f"{name} {importlib.import_module(name).__version__}" for name in (library, *also))
    return f"{versions}, {gpu(library) if device == 'cuda' else cpu(library)}"


def cpu(library: str) -> str:
    """The BLAS of a library, where it is NumPy's, and the number of threads."""
    if library in ("torch", "jax"):
        return f"{threads(library)} threads"
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    return f"{blas['name']} {blas['version']}, {threads(library)} threads"


def threads(library: str) -> int:
    """The number of threads that a library uses on a CPU; those of NumPy's BLAS for all but two."""
    if library == "torch":
        import torch

        return torch.get_num_threads()
    if library == "jax":
        return cores()
    pools = threadpoolctl.threadpool_info()
    return max(pool["num_threads"] for pool in pools if pool["user_api"] == "blas")


def require_same_threads(threads: dict[str, int]) -> None:
    """RuntimeError unless all contestants on a CPU have the same number of threads."""
    if len(set(threads.values())) > 1:
        told = ", ".join(f"{n} for {name}" for name, n in threads.items())
        limits = [f"{name}={os.environ[name]}" for name in os.environ if name.endswith("_NUM_THREADS")]
        way_out = f"unset {' '.join(limits)}, or use taskset" if limits else "use taskset"
        raise RuntimeError(f"expected the same number of threads for all contestants, got {told}: {way_out}")


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

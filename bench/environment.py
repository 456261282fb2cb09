"""The environment of a measurement: libraries, versions, threads, GPU."""

import ctypes
import importlib
import os
import sys

import numpy as np


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


def describe(library: str, device: str) -> str:
    """The version of a library, and its BLAS, threads or GPU: "numpy 2.4.6, openblas …"."""
    version = f"{library} {importlib.import_module(library).__version__}"
    return f"{version}, {gpu(library) if device == 'cuda' else cpu(library)}"


def cpu(library: str) -> str:
    """The BLAS of a library, where it is NumPy's, and the number of threads."""
    if library == "torch":
        import torch

        return f"{torch.get_num_threads()} threads"
    if library == "jax":
        return f"{cores()} threads"
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    return f"{blas['name']} {blas['version']}, {blas_threads()}"


def blas_threads() -> str:
    """The number of threads of NumPy's BLAS, by threadpoolctl where it is installed."""
    try:
        import threadpoolctl
    except ImportError:
        return f"{cores()} threads (unless the environment sets another number)"
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

"""The array libraries: find one, put arrays on its device, bring them back, wait for it, compile for it.

This is the only place that names them. Everything else is written against the Python array API
standard (https://data-apis.org/array-api) and works on whatever `namespace(x)` gives.
"""

from typing import Any

from xpnet.backend._cupy import CuPy
from xpnet.backend._dask import Dask
from xpnet.backend._jax import JAX
from xpnet.backend._lazy import LazyArray
from xpnet.backend._numpy import NumPy
from xpnet.backend._parts import sum_over_parts
from xpnet.backend._strict import Strict
from xpnet.backend._torch import Torch
from xpnet.backend.backends import DTYPES, Backend
from xpnet.backend.ops import Ops, Product, device, namespace, ops
from xpnet.errors import BackendError

__all__ = [
    "BACKENDS",
    "DTYPES",
    "Backend",
    "LazyArray",
    "Ops",
    "Product",
    "available",
    "device",
    "get",
    "namespace",
    "ops",
    "sum_over_parts",
]

BACKENDS: dict[str, type[Backend]] = {cls.name: cls for cls in (NumPy, CuPy, Torch, JAX, Dask, Strict)}


def get(name: str, device: Any = None, dtype: str = "float32") -> Backend:
    """The backend of that name: numpy, cupy, torch, jax or array-api-strict.

    Raises BackendError, in one line, where the name is unknown, or where its library or its
    device is not there; the line says what to install.
    """
    if not isinstance(name, str) or name not in BACKENDS:
        raise BackendError(f"unknown backend {name!r}: expected one of {', '.join(BACKENDS)}")
    return BACKENDS[name](device, dtype)


def available() -> dict[str, str | None]:
    """Each backend's name, with None where it can be used here and the reason where it cannot.

    This imports every library that is installed, which takes seconds.
    """
    reasons: dict[str, str | None] = {}
    for name in BACKENDS:
        try:
            get(name)
            reasons[name] = None
        except BackendError as error:
            reasons[name] = str(error).partition(": ")[2]
    return reasons

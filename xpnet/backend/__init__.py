"""The array libraries, one file each. No other package names them.

A `Backend` finds a library, places arrays on a device, fetches them, waits for the device and compiles steps.
`ops(x)` holds the operations that the Python array API standard (https://data-apis.org/array-api) lacks, or
that a library has in a faster form. Everything else uses the standard's functions, from `namespace(x)`.
"""

from typing import Any

import array_api_compat

from xpnet.backend._cupy import CuPy
from xpnet.backend._dask import Dask
from xpnet.backend._facts import Facts
from xpnet.backend._jax import JAX
from xpnet.backend._lazy import LazyArray
from xpnet.backend._numpy import NumPy
from xpnet.backend._parts import sum_over_parts
from xpnet.backend._strict import Strict
from xpnet.backend._torch import Torch
from xpnet.backend.backends import DTYPES, Backend
from xpnet.backend.ops import Ops, Product, device, namespace, ops
from xpnet.errors import BackendError, ConfigError

__all__ = [
    "BACKENDS",
    "DTYPES",
    "Backend",
    "Facts",
    "LazyArray",
    "Ops",
    "Product",
    "available",
    "device",
    "get",
    "namespace",
    "ops",
    "owner",
    "register",
    "sum_over_parts",
]

BACKENDS: dict[str, type[Backend]] = {cls.name: cls for cls in (NumPy, CuPy, Torch, JAX, Dask, Strict)}
_OWN = frozenset(BACKENDS)


def get(name: str, device: Any = None, dtype: str = "float32", tf32: bool = False) -> Backend:
    """The backend called `name`: numpy, cupy, torch, jax, dask or array-api-strict.

    `Backend` describes the other arguments. Raises BackendError if the name is unknown, or the library or the
    device is missing; the error says what to install.
    """
    if not isinstance(name, str) or name not in BACKENDS:
        raise BackendError(f"unknown backend {name!r}: expected one of {', '.join(BACKENDS)}")
    return BACKENDS[name](device, dtype, tf32)


def register(cls: type[Backend]) -> type[Backend]:
    """Give a backend of your own its name for `get`, `Model` and `train.Config`, in the same process.

    Arguments:
        cls: the class, derived from `Backend`. One that is registered already is replaced.

    Returns the class: `@backend.register` above it registers it too.

    Raises ConfigError unless the class names itself, its module and how to install that, and for the name of
    a backend of xpnet.
    """
    if not (isinstance(cls, type) and issubclass(cls, Backend)):
        raise ConfigError(f"register: expected a class derived from Backend, got {cls!r}")
    for attribute in ("name", "module", "install"):
        if not isinstance(getattr(cls, attribute, None), str):
            raise ConfigError(f'register: expected {cls.__name__} to have {attribute} = "…", got none')
    if cls.name in _OWN:
        raise ConfigError(f"register: expected a new name, got {cls.name!r}, a backend of xpnet")
    BACKENDS[cls.name] = cls
    return cls


def owner(x: Any) -> str | None:
    """The name of the backend whose library x belongs to; None for no array."""
    if not array_api_compat.is_array_api_obj(x):
        return None
    if array_api_compat.is_numpy_array(x):
        return NumPy.name
    parts = namespace(x).__name__.split(".")  # such as jax.numpy
    others = (name for name, cls in BACKENDS.items() if cls.module.partition(".")[0] in parts)
    return next((name for name in others if name != NumPy.name), None)


def available() -> dict[str, str | None]:
    """For each backend, None if it works on this machine, else the reason why not.

    Imports every installed library, which takes seconds.
    """
    reasons: dict[str, str | None] = {}
    for name in BACKENDS:
        try:
            get(name)
            reasons[name] = None
        except BackendError as error:
            reasons[name] = str(error).partition(": ")[2]
    return reasons

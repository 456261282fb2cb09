"""The array libraries: find one, put arrays on its device, bring them back, wait for it, compile for it.

This is the only place that names them. Everything else is written against the Python array API
standard (https://data-apis.org/array-api) and works on whatever `namespace(x)` gives.
"""

from typing import Any

from xpnet.backend._arrays import (
    add_at,
    add_square,
    constant,
    decay_and_add,
    device,
    exp_or_infinity,
    namespace,
    positive_part,
    set_at,
    subtract_ratio,
    subtract_scaled,
    take,
    where_positive,
    window_view,
)
from xpnet.backend._convolution import convolve, convolve_gradients, max_pool, max_pool_gradient
from xpnet.backend._cupy import CuPy
from xpnet.backend._jax import JAX
from xpnet.backend._numpy import NumPy
from xpnet.backend._parts import sum_over_parts
from xpnet.backend._products import Product, rows_gradient, rows_product, transform
from xpnet.backend._reductions import count, inner_product, row_maxima, row_sums
from xpnet.backend._rows import add_to_rows, each_row, sum_of_products, sum_of_rows
from xpnet.backend._strict import Strict
from xpnet.backend._torch import Torch
from xpnet.backend.backends import DTYPES, Backend
from xpnet.errors import BackendError

__all__ = [
    "BACKENDS",
    "DTYPES",
    "Backend",
    "Product",
    "add_at",
    "add_square",
    "add_to_rows",
    "available",
    "constant",
    "convolve",
    "convolve_gradients",
    "count",
    "decay_and_add",
    "device",
    "each_row",
    "exp_or_infinity",
    "get",
    "inner_product",
    "max_pool",
    "max_pool_gradient",
    "namespace",
    "positive_part",
    "row_maxima",
    "row_sums",
    "rows_gradient",
    "rows_product",
    "set_at",
    "subtract_ratio",
    "subtract_scaled",
    "sum_of_products",
    "sum_of_rows",
    "sum_over_parts",
    "take",
    "transform",
    "where_positive",
    "window_view",
]

BACKENDS: dict[str, type[Backend]] = {cls.name: cls for cls in (NumPy, CuPy, Torch, JAX, Strict)}


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

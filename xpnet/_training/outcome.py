"""Results that are not finite: look for the cause in the data, then in the parameters.

The data are searched only when a result is not finite, so that good data cost nothing.
"""

from typing import Any, NoReturn

import numpy as np

from xpnet import tree
from xpnet.backend import Backend, LazyArray, namespace
from xpnet.backend._reading import entry
from xpnet.data.batches import slices
from xpnet.errors import DivergedError, ShapeError
from xpnet.tree import Tree

AT_ONCE = 1 << 14  # examples


def first_not_finite(backend: Backend, arrays: Tree, name: str) -> str | None:
    """The first infinite or NaN value of arrays, on the device or the host: "nan at x[77, 3]"; or None."""
    return next((found for array in tree.leaves(arrays) if (found := _first(backend, array, name))), None)


def _first(backend: Backend, array: Any, name: str) -> str | None:
    for rows in slices(array.shape[0], AT_ONCE):
        part: Any = array[rows, ...]
        xp = namespace(part)
        if not xp.isdtype(part.dtype, "real floating"):
            return None
        if not bool(xp.all(xp.isfinite(part))):
            host = part if isinstance(array, np.ndarray | LazyArray) else backend.to_numpy(part)
            row, *rest = np.argwhere(~np.isfinite(host))[0].tolist()
            return f"{host[(row, *rest)]} at {entry(name, (rows.start + row, *rest))}"
    return None


def require_finite(backend: Backend, **arrays: Any) -> None:
    """ShapeError if one of these arrays has an infinite or NaN value."""
    for name, array in arrays.items():
        found = first_not_finite(backend, array, name)
        if found is not None:
            raise ShapeError(f"expected finite numbers in {name}, got {found}")


def diverged(backend: Backend, problem: str, variables: Tree) -> NoReturn:
    """Raise the DivergedError for a result that is not finite though the data are."""
    for name, array in tree.items(variables):
        host = backend.to_numpy(array)
        if not np.isfinite(host).all():
            position = tuple(np.argwhere(~np.isfinite(host))[0].tolist())
            found = f"the network has diverged: {host[position]} at {entry(f'params.{name}', position)}"
            break
    else:
        found = f"its parameters are finite, so a layer divides by zero or overflows {backend.dtype_name}"
    raise DivergedError(f"{problem} for finite data; {found}")

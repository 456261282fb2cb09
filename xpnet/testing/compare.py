"""Comparisons of trees of arrays: library, device, dtype and shape first, then values."""

from typing import Any

import numpy as np

from xpnet import tree
from xpnet.backend import Backend, device
from xpnet.testing.report import LawError
from xpnet.tree import Tree


def put(backend: Backend, host_tree: Tree) -> Tree:
    """A tree of NumPy arrays on a backend's device."""
    return tree.map(backend.asarray, host_tree)


def fetch(backend: Backend, device_tree: Tree) -> Tree:
    """A tree of a backend's arrays as fresh NumPy arrays. Leaves that are not arrays stay unchanged."""

    def to_host(x: Any) -> Any:
        if not hasattr(x, "dtype"):
            return x
        return x.copy() if isinstance(x, np.ndarray) else backend.to_numpy(x).copy()

    return tree.map(to_host, device_tree)


def assert_kept(backend: Backend, arrays: Tree) -> None:
    """LawError unless all arrays have the backend's library and device, and real ones its dtype."""
    for name, array in tree.items(arrays):
        if not hasattr(array, "dtype"):
            continue
        if not backend.owns(array):
            got = f"{type(array).__module__}.{type(array).__name__}"
            raise LawError(
                f"{name} is a {got}, not an array of {backend.name}; "
                "call functions of xp = xpnet.backend.namespace(x) instead of np"
            )
        if device(array) != backend.device:
            raise LawError(
                f"{name} is on {device(array)}, expected {backend.device}; "
                "make new arrays with device=xpnet.backend.device(x), or with xp.zeros_like(x)"
            )
        if backend.xp.isdtype(array.dtype, "real floating") and array.dtype != backend.dtype:
            raise LawError(
                f"{name} is {array.dtype}, expected {backend.dtype}, the dtype of the input; "
                "make new arrays with dtype=x.dtype, and scalars with float(…)"
            )


def assert_close(backend: Backend, actual: Tree, expected: Tree, tolerance: float) -> None:
    """LawError unless two trees, the second on the host, have equal names and shapes, and close values.

    |actual - expected| ≤ tolerance (1 + |expected|); NaN equals NaN.
    """
    found, wanted = dict(tree.items(fetch(backend, actual))), dict(tree.items(expected))
    if found.keys() != wanted.keys():
        raise LawError(f"the arrays are {_list(found)}, expected {_list(wanted)}")
    for name, array in wanted.items():
        fault = difference(found[name], array, tolerance)
        if fault:
            raise LawError(f"{name}{fault}")


def assert_same(backend: Backend, actual: Tree, expected: Tree) -> None:
    """LawError unless two trees, the second on the host, have equal names, shapes and values."""
    assert_close(backend, actual, expected, 0.0)


def difference(found: Any, wanted: Any, tolerance: float = 0.0) -> str:
    """The largest difference of two host arrays, "[3, 5] is 0.5, expected 1"; empty if they agree."""
    found, wanted = np.asarray(found), np.asarray(wanted)
    if found.shape != wanted.shape:
        return f" has shape {found.shape}, expected {wanted.shape}"
    if found.dtype.kind not in "biuf" or wanted.dtype.kind not in "biuf":
        return "" if np.array_equal(found, wanted) else f" is {found}, expected {wanted}"
    close = np.isclose(found, wanted, rtol=tolerance, atol=tolerance, equal_nan=True)
    if close.all():
        return ""
    with np.errstate(invalid="ignore"):
        apart = np.abs(found.astype(np.float64) - wanted.astype(np.float64))
    apart = np.where(close, -1.0, np.where(np.isnan(apart), np.inf, apart))
    index = np.unravel_index(int(apart.argmax()), found.shape)
    where = f"[{', '.join(str(int(i)) for i in index)}]" if index else ""
    digits = 6 if tolerance else 17
    return f"{where} is {found[index]:.{digits}g}, expected {wanted[index]:.{digits}g}"


def assert_unchanged(method: str, backend: Backend, given: Tree, before: Tree) -> None:
    """LawError if a method has modified its arguments; `before` is `fetch(given)` from before the call."""
    after = dict(tree.items(fetch(backend, given)))
    for name, array in tree.items(before):
        if difference(after[name], array):
            raise LawError(
                f"{method} writes into {name}; "
                "make a fresh array, a = a * b, in place of a *= b, a += b or a[…] = b"
            )


def shapes(arrays: Tree) -> dict[str, tuple[int, ...]]:
    """The shape of each array by its name."""
    return {name: tuple(np.shape(array)) for name, array in tree.items(arrays)}


def structure(arrays: Tree) -> Tree:
    """The tree with None for each array: equal for trees of the same dicts and tuples."""
    return tree.map(lambda _: None, arrays)


def assert_like(what: str, found: Tree, wanted: Tree, of: str) -> None:
    """LawError unless a tree has the same dicts, tuples, names and shapes as `wanted`."""
    listed = [name for name, leaf in tree.items(found) if isinstance(leaf, list)]
    if listed:
        raise LawError(f"{_join(what, listed[0])} is a list; expected a dict of arrays by name")
    found_shapes, wanted_shapes = shapes(found), shapes(wanted)
    if found_shapes.keys() != wanted_shapes.keys() or structure(found) != structure(wanted):
        raise LawError(
            f"{what} has the arrays {_list(found_shapes)}, expected those of {of}: {_list(wanted_shapes)}"
        )
    for name, shape in wanted_shapes.items():
        if found_shapes[name] != shape:
            raise LawError(
                f"{_join(what, name)} has shape {found_shapes[name]}, expected {shape}, as in {of}"
            )


def _join(what: str, name: str) -> str:
    return f"{what}.{name}" if name else what


def _list(names: Any) -> str:
    return ", ".join(names) if names else "none"

"""Trees of arrays: checks of the result of a layer's `init` and of what a user assigns, and copies."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from xpnet import tree
from xpnet.backend import Backend
from xpnet.errors import ConfigError, ShapeError
from xpnet.nn import Layer
from xpnet.nn._layer import show_shape
from xpnet.tree import Tree


def require_arrays(net: Layer, arrays: Tree, method: str) -> None:
    """ConfigError, naming the layer's class, unless the result of `method` is a tree of arrays."""
    for layer, name, leaf in _leaves(net, arrays):
        if not _is_array(leaf):
            where = f" for {name}" if name else ""
            raise ConfigError(
                f"{type(layer).__name__}.{method}: expected a dict or a tuple of arrays, "
                f"got {_describe(leaf)}{where}"
            )


def _leaves(layer: Layer, branch: Tree, name: str = "") -> Iterator[tuple[Layer, str, Any]]:
    """Each leaf with its layer, and its name in the layer's own tree."""
    children = {} if name else layer.children()
    if isinstance(branch, dict | tuple):
        for key, value in branch.items() if isinstance(branch, dict) else enumerate(branch):
            if key in children:
                yield from _leaves(children[key], value)
            else:
                yield from _leaves(layer, value, f"{name}.{key}" if name else str(key))
    else:
        yield layer, name, branch


def like(expected: Tree, given: Tree, backend: Backend, what: str, whose: str = "Model") -> Tree:
    """Copies of the given arrays on the device, in the structure of the expected tree.

    Arguments:
        expected: a tree of arrays on the device.
        given: arrays of any library with the same names, in the same tree or in a dict from names.
        backend: makes the copies, in real dtypes where the expected arrays are real.
        what, whose: the names of the tree and of its owner in errors, such as "params" and "Model".

    Raises ShapeError, which names the first array that is missing, unexpected or of another shape.
    """
    wanted, found = dict(tree.items(expected, what)), dict(tree.items(given, what))
    copies = {}
    for name, like_this in wanted.items():
        shape = tuple(like_this.shape)
        expectation = f"{whose}: expected {name} of shape {show_shape(shape)}"
        if name not in found:
            raise ShapeError(f"{expectation}, got {_in_place_of(name, found)}")
        real = backend.xp.isdtype(like_this.dtype, "real floating")
        try:
            array = backend.asarray(found[name], real=real)
        except ShapeError as error:
            raise ShapeError(f"{whose}: {name}: {error}") from error
        if tuple(array.shape) != shape:
            transposed = len(shape) > 1 and tuple(array.shape) == shape[::-1]
            got = ("its transpose, " if transposed else "") + show_shape(tuple(array.shape))
            raise ShapeError(f"{expectation}, got {got}")
        copies[name] = backend.copy(array)
    for name, extra in found.items():
        if name not in wanted:
            raise ShapeError(f"{whose}: expected no array {name} in this network, got {_describe(extra)}")
    return tree.replace(expected, copies, what)


def to_host(backend: Backend, state: Tree) -> Tree:
    """A copy of a tree of arrays on the host; None stays None."""
    return tree.map(lambda array: None if array is None else np.array(backend.to_numpy(array)), state)


def from_host(backend: Backend, state: Tree) -> Tree:
    """A copy on the device of the result of `to_host`."""
    return tree.map(lambda array: None if array is None else backend.from_host(array.copy(order="K")), state)


def _in_place_of(name: str, found: dict[str, Any]) -> str:
    """What the given tree holds in place of a missing array."""
    while name:
        name = name.rpartition(".")[0]
        if name in found:
            return f"{_describe(found[name])} for {name}"
    return "none"


def _is_array(leaf: Any) -> bool:
    return isinstance(leaf, int | float) or (hasattr(leaf, "shape") and hasattr(leaf, "dtype"))


def _describe(leaf: Any) -> str:
    if hasattr(leaf, "shape"):
        return f"an array of shape {show_shape(tuple(np.shape(leaf)))}"
    return repr(leaf) if leaf is None or isinstance(leaf, int | float) else f"a {type(leaf).__name__}"

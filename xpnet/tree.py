"""Parameters, gradients and optimizer state are trees: dicts and tuples with arrays at the leaves.

A leaf's name joins the keys on the way to it: `"0.weight"` is the weight of the first layer.
"""

from collections.abc import Callable, Iterator
from typing import Any, Protocol


class Array(Protocol):
    """What xpnet asks of an array: a part of the array API standard that arrays of every library have.

    The functions of the standard are not here: `xpnet.backend.namespace(x)` gives an array's own.
    """

    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def ndim(self) -> int: ...
    @property
    def dtype(self) -> Any: ...
    @property
    def mT(self) -> Any: ...

    def __getitem__(self, key: Any, /) -> Any: ...
    def __setitem__(self, key: Any, value: Any, /) -> None: ...
    def __add__(self, other: Any, /) -> Any: ...
    def __radd__(self, other: Any, /) -> Any: ...
    def __sub__(self, other: Any, /) -> Any: ...
    def __rsub__(self, other: Any, /) -> Any: ...
    def __mul__(self, other: Any, /) -> Any: ...
    def __rmul__(self, other: Any, /) -> Any: ...
    def __truediv__(self, other: Any, /) -> Any: ...
    def __rtruediv__(self, other: Any, /) -> Any: ...
    def __matmul__(self, other: Any, /) -> Any: ...
    def __neg__(self) -> Any: ...
    def __eq__(self, other: Any, /) -> Any: ...
    def __ne__(self, other: Any, /) -> Any: ...
    def __gt__(self, other: Any, /) -> Any: ...
    def __lt__(self, other: Any, /) -> Any: ...
    def __ge__(self, other: Any, /) -> Any: ...
    def __mod__(self, other: Any, /) -> Any: ...
    def __and__(self, other: Any, /) -> Any: ...
    def __xor__(self, other: Any, /) -> Any: ...
    def __rshift__(self, other: Any, /) -> Any: ...
    def __pow__(self, other: Any, /) -> Any: ...
    def __float__(self) -> float: ...
    def __int__(self) -> int: ...
    def __bool__(self) -> bool: ...


class SupportsArray(Protocol):
    """What NumPy can make an array of, such as a DataFrame."""

    def __array__(self) -> Any: ...


# What users hand in: an array of any library, nested lists, a number.
ArrayLike = Array | SupportsArray | list[Any] | tuple[Any, ...] | float
Tree = Any  # an array, or a dict or tuple of trees


def map(function: Callable[..., Any], tree: Tree, *others: Tree) -> Tree:
    """Apply `function` to each leaf of `tree` and the leaves at the same place in `others`."""
    if isinstance(tree, dict):
        return {key: map(function, tree[key], *(other[key] for other in others)) for key in tree}
    if isinstance(tree, tuple):
        make = getattr(tree, "_make", tuple)  # what was a NamedTuple is one again
        return make([map(function, *branches) for branches in zip(tree, *others, strict=True)])
    return function(tree, *others)


def items(tree: Tree, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the name and the array of each leaf; dicts in the order of their sorted keys.

    (Sorted, since JAX sorts the dicts that go through `jit`, and a tree must not change by that.)
    """
    if isinstance(tree, dict | tuple):
        pairs = sorted(tree.items()) if isinstance(tree, dict) else enumerate(tree)
        for key, branch in pairs:
            yield from items(branch, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, tree


def leaves(tree: Tree) -> list[Any]:
    """The arrays of a tree, in the order of `items`."""
    return [leaf for _, leaf in items(tree)]


def replace(tree: Tree, arrays: dict[str, Array], prefix: str = "") -> Tree:
    """The tree with each leaf replaced by the array of the same name."""
    if isinstance(tree, dict):
        return {key: replace(tree[key], arrays, f"{prefix}.{key}" if prefix else key) for key in tree}
    if isinstance(tree, tuple):
        return tuple(
            [replace(branch, arrays, f"{prefix}.{i}" if prefix else str(i)) for i, branch in enumerate(tree)]
        )
    return arrays[prefix]


def merge(tree: Tree, other: Tree) -> Tree:
    """The leaves of two trees that have the same tuples in the same places, in one tree."""
    if not other:
        return tree
    if isinstance(tree, dict):
        common = {key: merge(tree[key], other[key]) for key in tree.keys() & other.keys()}
        return {**tree, **other, **common}
    return tuple([merge(*branches) for branches in zip(tree, other, strict=True)])


def weights(tree: Tree) -> list[Array]:
    """The leaves that are called `weight`.

    L2 and weight decay act on these only: a layer of your own calls what shall be decayed
    `weight`, and its biases, scales and shifts anything else.
    """
    return [leaf for name, leaf in items(tree) if name.rpartition(".")[2] == "weight"]


def map_weights(function: Callable[..., Any], tree: Tree, *others: Tree) -> Tree:
    """Apply `function` to the leaves that are called `weight`; leave the others as they are."""
    if isinstance(tree, dict):
        return {
            key: function(tree[key], *(other[key] for other in others))
            if key == "weight"
            else map_weights(function, tree[key], *(other[key] for other in others))
            for key in tree
        }
    if isinstance(tree, tuple):
        return tuple([map_weights(function, *branches) for branches in zip(tree, *others, strict=True)])
    return tree

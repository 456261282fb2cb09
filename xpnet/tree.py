"""Trees: dicts and tuples with arrays at the leaves, for parameters, gradients and optimizer state.

The name of a leaf joins the keys on the path to it: `"0.weight"` is the weight of the first layer.
"""

from collections.abc import Callable, Iterator
from typing import Any, Protocol


class Array(Protocol):
    """An array of any library, with the attributes and operators that xpnet uses.

    They are the part of the array API standard that all libraries have. Its functions are in
    `xpnet.backend.namespace(x)`.
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
    """An object that NumPy can convert to an array, such as a DataFrame."""

    def __array__(self) -> Any: ...


# What users may pass in: an array of any library, nested lists, a number.
ArrayLike = Array | SupportsArray | list[Any] | tuple[Any, ...] | float
Tree = Any  # an array, or a dict or tuple of trees


def map(function: Callable[..., Any], tree: Tree, *others: Tree) -> Tree:
    """The tree of `function` applied to each leaf of `tree` and to the leaves in its place in `others`."""
    if isinstance(tree, dict):
        if not others:
            return {key: map(function, branch) for key, branch in tree.items()}
        return {key: map(function, tree[key], *[other[key] for other in others]) for key in tree}
    if isinstance(tree, tuple):
        make = getattr(tree, "_make", tuple)  # a NamedTuple stays a NamedTuple
        if not others:
            return make([map(function, branch) for branch in tree])
        return make([map(function, *branches) for branches in zip(tree, *others, strict=True)])
    return function(tree, *others)


def map_several(
    function: Callable[..., tuple[Any, ...]], n: int, *trees: Tree, key: str = ""
) -> tuple[Tree, ...]:
    """n trees of the n results of `function(key, *leaves)` for the leaves in the same place of all trees.

    The key is the last one on the path to the leaf.
    """
    first = trees[0]
    if isinstance(first, dict):
        found = [map_several(function, n, *[tree[k] for tree in trees], key=k) for k in first]
        return tuple([dict(zip(first, branches, strict=True)) for branches in _columns(found, n)])
    if isinstance(first, tuple):
        return _columns([map_several(function, n, *branches) for branches in zip(*trees, strict=True)], n)
    return function(key, *trees)


def _columns(rows: list[tuple[Any, ...]], n: int) -> tuple[tuple[Any, ...], ...]:
    """The n columns of rows of length n."""
    return tuple(zip(*rows, strict=True)) if rows else ((),) * n


def items(tree: Tree, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the name and the array of each leaf, the keys of a dict in sorted order."""
    # JAX sorts the dicts that pass through `jit`: the order of the leaves must not depend on it.
    if isinstance(tree, dict | tuple):
        pairs = sorted(tree.items()) if isinstance(tree, dict) else enumerate(tree)
        for key, branch in pairs:
            yield from items(branch, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, tree


def leaves(tree: Tree) -> list[Any]:
    """The arrays of a tree, in the order of `items`."""
    # Without the names, which take most of the time of `items`.
    if isinstance(tree, dict):
        return [leaf for key in sorted(tree) for leaf in leaves(tree[key])]
    if isinstance(tree, tuple):
        return [leaf for branch in tree for leaf in leaves(branch)]
    return [tree]


def shapes(tree: Tree) -> dict[str, tuple[int, ...]]:
    """The shape of each array, by its name."""
    return {name: tuple(array.shape) for name, array in items(tree)}


def replace(tree: Tree, arrays: dict[str, Array], prefix: str = "") -> Tree:
    """The tree with each leaf replaced by the array under its name in `arrays`."""
    if isinstance(tree, dict):
        return {key: replace(tree[key], arrays, f"{prefix}.{key}" if prefix else key) for key in tree}
    if isinstance(tree, tuple):
        return tuple(
            [replace(branch, arrays, f"{prefix}.{i}" if prefix else str(i)) for i, branch in enumerate(tree)]
        )
    return arrays[prefix]


def merge(tree: Tree, other: Tree) -> Tree:
    """One tree with the leaves of both; tuples in the same place must have the same length."""
    if not other:
        return tree
    if isinstance(tree, dict):
        common = {key: merge(tree[key], other[key]) for key in tree.keys() & other.keys()}
        return {**tree, **other, **common}
    return tuple([merge(*branches) for branches in zip(tree, other, strict=True)])


def weights(tree: Tree, key: str = "") -> list[Array]:
    """The leaves under the key `weight`: L2 and weight decay act on these alone.

    In a layer of your own, use this name for parameters to decay, and any other name for biases, scales and
    shifts.
    """
    if isinstance(tree, dict):
        return [leaf for each in sorted(tree) for leaf in weights(tree[each], each)]
    if isinstance(tree, tuple):
        return [leaf for branch in tree for leaf in weights(branch)]
    return [tree] if key == "weight" else []


def map_weights(function: Callable[..., Any], tree: Tree, *others: Tree) -> Tree:
    """`map` for the leaves under the key `weight`; the other leaves of `tree` stay as they are."""
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

"""Files of parameters and statistics: those of one network, or of K networks with a leading axis of K.

A file is a `.npz` archive, which NumPy reads, of arrays with names like `0.weight`.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from xpnet import tree
from xpnet._util import files
from xpnet.backend import Backend
from xpnet.errors import CheckpointError
from xpnet.tree import Tree

Arrays = dict[str, np.ndarray]
Shapes = dict[str, tuple[int, ...]]


def save(path: str | Path, variables: Tree, backend: Backend) -> None:
    """Write the variables of one network. CheckpointError if the file cannot be written."""
    files.save_arrays(path, _on_host(variables, backend))


def save_all(path: str | Path, each: Sequence[Tree], backend: Backend) -> None:
    """Write the variables of K networks."""
    hosts = [_on_host(variables, backend) for variables in each]
    files.save_arrays(path, {name: np.stack([host[name] for host in hosts]) for name in hosts[0]})


def load(path: str | Path, variables: Tree) -> Arrays:
    """What `save` wrote, by name; CheckpointError unless it has the names and shapes of `variables`."""
    shapes = _shapes(variables)

    def refuse(found: Shapes) -> None:
        if k := _networks(shapes, found):
            raise CheckpointError(
                f"{path}: expected the parameters of one network, got those of {k} in an Ensemble; for "
                "network k write model.restore({name: array[k] for name, array in np.load(path).items()})"
            )

    return files.load_arrays(path, shapes, refuse)


def load_all(path: str | Path, variables: Tree, k: int) -> list[Arrays]:
    """What `save_all` wrote for K networks with variables of these shapes, for each of them."""
    shapes = _shapes(variables)

    def refuse(found: Shapes) -> None:
        if found == shapes and shapes:
            raise CheckpointError(
                f"{path}: expected the parameters of {k} networks, got those of one; write "
                "ensemble[k].load(path) for each network that it is for"
            )
        if (got := _networks(shapes, found)) not in (k, 0):
            raise CheckpointError(f"{path}: expected the parameters of {k} networks, got those of {got}")

    arrays = files.load_arrays(path, {name: (k, *shape) for name, shape in shapes.items()}, refuse)
    return [{name: array[i] for name, array in arrays.items()} for i in range(k)]


def _on_host(variables: Tree, backend: Backend) -> Arrays:
    return {name: backend.to_numpy(array) for name, array in tree.items(variables)}


def _shapes(variables: Tree) -> Shapes:
    return {name: tuple(array.shape) for name, array in tree.items(variables)}


def _networks(shapes: Shapes, found: Shapes) -> int:
    """K if these are the arrays of K networks; else 0."""
    name = next(iter(shapes), "")
    k = found.get(name, (0,))[:1]
    return k[0] if k and found == {name: (*k, *shape) for name, shape in shapes.items()} else 0

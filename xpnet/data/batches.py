"""Mini-batches: the host draws the order of the examples, the device gathers the batches."""

from collections.abc import Iterator

import numpy as np

from xpnet._util.checks import require_integer
from xpnet.backend import device, namespace, ops
from xpnet.backend._reading import as_array
from xpnet.errors import ConfigError, ShapeError
from xpnet.random import generator
from xpnet.tree import Array, ArrayLike


def batches(
    x: ArrayLike, y: ArrayLike, batch_size: int, *, seed: int = 0, epoch: int = 0, shuffle: bool = True
) -> Iterator[tuple[Array, Array]]:
    """One epoch of mini-batches `(x, y)` of examples along axis 0, gathered on the device of x and y.

    The order depends only on the seed and the epoch: each epoch has a new one, and a run can be repeated.
    The last batch is shorter if `batch_size` does not divide the number of examples.

    Arguments:
        x, y: arrays of any library; lists, tables and stores become NumPy arrays.
        batch_size: examples per batch.
        seed, epoch: determine the order.
        shuffle: False keeps the order of x and y.

    Raises ConfigError where `batch_size` is below 1 or there are no examples, ShapeError if x or y is not an
    array of numbers, or they differ in length.
    """
    inputs, targets = as_array(x), as_array(y, "y")
    if inputs.ndim == 0 or targets.shape[:1] != inputs.shape[:1]:
        expected = f"a y for each of {inputs.shape[0]} x" if inputs.ndim else "x (n, ...)"
        shapes = f"x of shape {tuple(inputs.shape)} and y of shape {tuple(targets.shape)}"
        raise ShapeError(f"batches: expected {expected}, got {shapes}")
    rows = batch_indices(inputs, batch_size, seed=seed, epoch=epoch, shuffle=shuffle)
    return _gathered(inputs, targets, rows)


def _gathered(x: Array, y: Array, rows: list[Array]) -> Iterator[tuple[Array, Array]]:
    for indices in rows:
        for i in range(indices.shape[0]):
            yield ops(x).take(x, indices[i, ...]), ops(y).take(y, indices[i, ...])


def batch_indices(
    x: Array, batch_size: int, *, seed: int = 0, epoch: int = 0, shuffle: bool = True
) -> list[Array]:
    """The positions in x of the examples of each batch: a row for each batch, integers on the device of x.

    The first array, (batches, batch_size), holds the full batches; a second one holds the shorter last batch
    if `batch_size` does not divide the number of examples. No array is empty.
    """
    n = x.shape[0]
    if n == 0:
        raise ConfigError("batches: expected at least one example, got none")
    require_integer("batches", "batch_size", batch_size)
    batch_size = min(batch_size, n)
    order = generator(seed, "shuffle", epoch).permutation(n) if shuffle else np.arange(n)
    order = namespace(x).asarray(order, device=device(x))
    whole = n - n % batch_size
    stacks = namespace(x).reshape(order[:whole], (-1, batch_size)), order[None, whole:]
    return [rows for rows in stacks if 0 not in rows.shape]


def slices(n: int, batch_size: int) -> list[slice]:
    """The slices that cut n examples, in their order, into batches."""
    return [slice(start, min(start + batch_size, n)) for start in range(0, n, batch_size)]

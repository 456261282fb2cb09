"""The data that `fit` evaluates after each epoch; the examples that `validation_split` holds out."""

import warnings
from typing import Any

import numpy as np

from xpnet._training import given
from xpnet._training.inputs import Inputs, naming
from xpnet._util.numbers import whole
from xpnet.backend import LazyArray
from xpnet.backend._lazy import is_lazy
from xpnet.errors import ConfigError, ShapeError
from xpnet.tree import ArrayLike


def split(fraction: float, *arrays: ArrayLike) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """The first examples of these arrays, for training, and the last ⌊fraction · n⌋, at least one, as slices.

    An array in a store stays there. Raises ConfigError if no example would be left to train on, and
    ShapeError for what has no slices.
    """
    n = _length(arrays[0])
    first = n - max(whole(fraction * n), 1)
    if first < 1:
        raise ConfigError(
            f"fit: expected validation_split to leave an example to train on, got {fraction} of {n} examples"
        )
    return tuple(_rows(each, 0, first) for each in arrays), tuple(_rows(each, first, n) for each in arrays)


def read(inputs: Inputs, name: str, pair: Any) -> Any:
    """A pair (x, y) as arrays that can be checked; batches and None as they are. Errors have its name."""
    if pair is None or given.are_pairs(pair):
        return pair
    with naming(name):
        return inputs.read(pair[0]), inputs.read(pair[1], "y")


def arrays(*pairs: Any) -> tuple[Any, ...]:
    """The arrays of those that `read` gave and that are no batches."""
    return tuple(
        [array for pair in pairs if pair is not None and not given.are_pairs(pair) for array in pair]
    )


def place(inputs: Inputs, name: str, pair: Any, on_device: bool) -> Any:
    """The pair checked and placed, batches ready for that; None for None. Errors start with its name."""
    if pair is None:
        return None
    if given.are_pairs(pair):
        return given.Placed(given.Passes(pair).once_more, given.Placer(inputs, inputs.loss))
    with naming(name):
        x, y = pair
        return inputs.place(x, y, on_device)


def training_part(weights: ArrayLike | None, x: Any, x_held_out: Any) -> Any:
    """The weights of the examples x, without those of the examples that are held out."""
    if weights is None:
        return None
    n, n_all = _length(x), _length(x) + _length(x_held_out)
    if _length(weights) != n_all:
        raise ShapeError(f"sample_weight: expected {n_all} weights, got {_length(weights)}")
    return _rows(weights, 0, n)


def warn_of_sorted(y: Any, y_held_out: Any) -> None:
    """Warn if there are classes among the last examples only, as in data that is sorted by class.

    Arguments:
        y, y_held_out: checked targets on the host: integer labels, or rows.
    """
    if y.ndim == 2 and y.shape[1] > 1:
        missing = np.flatnonzero((y_held_out != 0).any(axis=0) & (y == 0).all(axis=0)).tolist()
    elif y.dtype.kind in "iu" or all(np.isin(each, (-1, 0, 1)).all() for each in (y, y_held_out)):
        missing = np.setdiff1d(y_held_out, y).tolist()
    else:
        missing = []
    if missing:
        some = ", ".join(map(str, missing[:5])) + ", …" * (len(missing) > 5)
        warnings.warn(
            f"fit: validation_split holds out the last examples, among them all of class {some}: "
            "the data seems to be sorted; shuffle it first, x and y alike",
            stacklevel=3,
        )


def _length(array: Any) -> int:
    if isinstance(array, dict):
        raise _no_slices(array)
    try:
        return int(array.shape[0]) if hasattr(array, "shape") else len(array)
    except (TypeError, IndexError) as error:
        raise _no_slices(array) from error


def _rows(array: Any, start: int, stop: int) -> Any:
    if is_lazy(array):
        return LazyArray(_Rows(array, start, stop), array.dtype)
    if hasattr(array, "iloc"):  # a table of pandas, whose own indexing goes by its labels
        return array.iloc[start:stop]
    try:
        return array[start:stop, ...] if hasattr(array, "shape") else array[start:stop]
    except (TypeError, IndexError, KeyError) as error:
        raise _no_slices(array) from error


def _no_slices(array: Any) -> ShapeError:
    kind = type(array).__name__
    return ShapeError(f"fit: expected an array or a list of examples for validation_split, got a {kind}")


class _Rows:
    """Consecutive rows of an array in a store, read when they are indexed."""

    def __init__(self, store: Any, start: int, stop: int) -> None:
        self.store, self.start = store, start
        self.shape = (stop - start, *store.shape[1:])
        self.dtype = store.dtype

    def __getitem__(self, index: Any) -> Any:
        rows, *others = index if isinstance(index, tuple) else (index,)
        if isinstance(rows, slice):
            start, stop, step = rows.indices(self.shape[0])
            rows = slice(start + self.start, stop + self.start, step)
        else:
            rows = np.asarray(rows) + self.start
        return self.store[(rows, *others)] if others else self.store[rows]

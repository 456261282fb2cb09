"""Split examples into those to train on and those for validation or a test."""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xpnet._util.checks import is_number
from xpnet._util.numbers import whole
from xpnet.backend._reading import a
from xpnet.data.dataset import Dataset, Examples
from xpnet.errors import ConfigError, DataError
from xpnet.random import generator

HOW = ("first", "random", "stratified")
NAMED = 10  # classes in a warning


def split(
    examples: Examples, fraction: float, how: str = "first", *, seed: int = 0, names: Sequence[str] = ()
) -> tuple[Examples, Examples]:
    """floor(fraction · n) examples for training, and the rest for validation.

    Arguments:
        examples: `Examples`, or any pair (x, y) of NumPy arrays.
        fraction: above 0, at most 1; 1 leaves no example for validation.
        how: "first" trains on the first examples of the file: views, no copies. "random" draws the examples,
            "stratified" draws as large a share of each class as of all; both keep the order of the file.
        seed: of the draw.
        names: the names of the classes, for the warning.

    Warns of classes that one of the two lacks, as in a file sorted by class, which asks for "stratified".

    Raises ConfigError where `how` is none of these, or training or, below 1, validation would be empty.
    """
    examples = _pair(examples)
    n = len(examples.y)
    if how not in HOW:
        raise ConfigError(f"split: expected {', '.join(HOW)}, got {how!r}")
    count = whole(fraction * n) if is_number(fraction) and 0 < fraction <= 1 else 0
    if not 0 < count < n + (fraction == 1):
        raise ConfigError(
            f"split: expected a fraction that leaves one of {n} examples or more on each side, got {fraction}"
        )
    if how == "first" or count == n:
        first, rest = (Examples(examples.x[part], examples.y[part]) for part in np.s_[:count, count:])
    else:
        chosen = draw(examples.y, count, how, seed)
        first, rest = (Examples(examples.x[part], examples.y[part]) for part in (chosen, ~chosen))
    _warn_of_missing_classes(first.y, rest.y, names)
    return first, rest


def _pair(examples: Any) -> Examples:
    """The pair as `Examples`. ConfigError for anything else, DataError for arrays of other lengths."""
    if isinstance(examples, Dataset):
        raise ConfigError("split: expected examples (x, y), got a Dataset; write split(dataset.train, 0.8)")
    if not (isinstance(examples, tuple | list) and len(examples) == 2):
        raise ConfigError(f"split: expected examples (x, y), got {a(examples)}; write split((x, y), 0.8)")
    x, y = map(np.asarray, examples)
    if x.shape[:1] != y.shape[:1] or y.ndim == 0:
        raise DataError(f"split: expected a label for each example, got x of shape {x.shape}, y of {y.shape}")
    return Examples(x, y)


def draw(y: NDArray[np.int64], count: int, how: str, seed: int) -> NDArray[np.bool_]:
    """Which of the examples, `count` in all, are drawn."""
    if how == "stratified" and y.dtype.kind not in "biu":
        raise ConfigError(f"split: expected integer labels with how='stratified', got y of {y.dtype}")
    n = len(y)
    rng = generator(seed, "split")
    order = rng.permutation(n)
    if how == "stratified":
        # The k-th of the m examples of a class stands at (k + a random number below 1) / m: the first `count`
        # of all then hold floor or ceil of the class's share.
        place = np.empty(n)
        for label in np.unique(y):
            members = order[y[order] == label]
            place[members] = (np.arange(len(members)) + rng.random()) / len(members)
            place[members[0]] = 0  # a class with one example is for training
        order = np.argsort(place, kind="stable")
    chosen = np.zeros(n, bool)
    chosen[order[:count]] = True
    return chosen


def _warn_of_missing_classes(train: NDArray[np.int64], rest: NDArray[np.int64], names: Sequence[str]) -> None:
    def called(labels: Sequence[int]) -> str:
        shown = ", ".join(str(names[label]) if names else str(label) for label in labels[:NAMED])
        return shown + (f" and {len(labels) - NAMED} more" if len(labels) > NAMED else "")

    way_out = "is the file sorted by class? --split stratified draws from all classes"
    if train.dtype.kind not in "biu":  # targets of a regression
        return
    labels, counts = np.unique(train, return_counts=True)
    unseen = np.setdiff1d(rest, labels).tolist()
    # A class of which a random draw would leave some for validation, except with a probability of e⁻¹⁰.
    likely = labels[counts * len(rest) >= 10 * len(train)]
    if unseen:
        message = f"no training example is of class {called(unseen)}, but validation has examples of it"
    elif absent := np.setdiff1d(likely, rest).tolist():
        message = f"no validation example is of class {called(absent)}, but training has examples of it"
    else:
        return
    warnings.warn(f"{message}: {way_out}", stacklevel=3)


def cut_off(y: NDArray[np.int64], fraction: float) -> tuple[NDArray[np.intp], NDArray[np.intp], str]:
    """Positions of the training and the test examples of a data set without a test part, and a note.

    The share `fraction` of each class is for the test; the draw is always the same. Both are shuffled.

    Raises DataError where one of them would be empty.
    """
    n = len(y)
    count = round(fraction * n)
    if not 0 < count < n:
        raise DataError(f"test={fraction:g}: expected a share of {n} examples that leaves one on each side")
    chosen = draw(y, n - count, "stratified", seed=0)
    order = generator(0, "cut off").permutation(n)
    note = f"no test file: {count:,} of {n:,} examples, drawn from all classes, are for the test"
    return order[chosen[order]], order[~chosen[order]], note

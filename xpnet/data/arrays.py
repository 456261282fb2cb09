"""Data sets in NumPy's files: `npz:mnist.npz`, or a file for each array."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xpnet.data import scales, splits
from xpnet.data.dataset import Dataset, Examples
from xpnet.errors import DataError

CHANNELS = (1, 3, 4)
# The names that arrays have in the files of Keras, MedMNIST, scikit-learn and others, in lower case.
NAMES = {
    ("train", "x"): ("x_train", "train_x", "train_images", "images_train", "train_data"),
    ("train", "y"): ("y_train", "train_y", "train_labels", "labels_train", "train_targets"),
    ("test", "x"): ("x_test", "test_x", "test_images", "images_test", "test_data"),
    ("test", "y"): ("y_test", "test_y", "test_labels", "labels_test", "test_targets"),
    ("all", "x"): ("x", "data", "images", "features"),
    ("all", "y"): ("y", "target", "targets", "labels", "label"),
}


def read(name: str, paths: Sequence[Path], scale: str | None, test: float) -> Dataset:
    """The data set in a `.npz` file of named arrays, or in two or four files of one array each.

    These are the training inputs and labels, then the test inputs and labels. Without a test part, the share
    `test` of each class is drawn for it. Code in a file is never run.

    Raises DataError where a file is unreadable, damaged, holds pickled objects or other arrays.
    """
    if len(paths) == 1:
        arrays = named(paths[0])
    elif len(paths) in (2, 4):
        arrays = dict(zip(("x_train", "y_train", "x_test", "y_test"), map(_single, paths), strict=False))
    else:
        raise DataError(f"{name}: expected one file, or two or four, got {len(paths)}")
    source = ", ".join(map(str, paths))
    found = {part: _find(arrays, *part) for part in NAMES}
    if found["train", "x"] is None or found["train", "y"] is None:
        found["train", "x"], found["train", "y"] = found["all", "x"], found["all", "y"]
    return from_arrays(
        name,
        source,
        (found["train", "x"], found["train", "y"]),
        (found["test", "x"], found["test", "y"]),
        scale,
        test,
        names=", ".join(arrays),
    )


def from_arrays(
    name: str,
    source: str,
    train: tuple[Any, Any],
    test: tuple[Any, Any] = (None, None),
    scale: str | None = None,
    share: float = 0.2,
    class_names: tuple[str, ...] = (),
    names: str = "",
) -> Dataset:
    """The data set of these arrays: inputs (n, ...), or images (n, height, width), and labels (n,) or (n, 1).

    Raises DataError where an array is missing or of another shape or kind.
    """
    if train[0] is None or train[1] is None:
        raise DataError(
            f"{source}: expected arrays x_train, y_train, x_test and y_test, got {names or 'none'}"
        )
    (x, y), known = _checked(source, train, "training"), None
    notes: list[str] = []
    if y.dtype.kind in "US":
        class_names = tuple(map(str, np.unique(y).astype(str)))
        known = {each: i for i, each in enumerate(class_names)}
        y = np.array([known[str(each)] for each in y.astype(str)], np.int64)
        notes.append(f"{len(class_names)} classes: {', '.join(class_names[:6])}")
    elif y.min() < 0:
        raise DataError(f"{source}: expected labels of 0 or more, got {y.min()}")
    if test[0] is None or test[1] is None:
        first, rest, note = splits.cut_off(y, share)
        (x, other_x), (y, other_y) = (x[first], x[rest]), (y[first], y[rest])
        notes.append(note)
    else:
        other_x, other_y = _checked(source, test, "test")
        if known is not None:
            other_y = np.array([known.get(str(each), -1) for each in other_y.astype(str)], np.int64)
        if other_x.shape[1:] != x.shape[1:]:
            raise DataError(
                f"{source}: expected test inputs of shape {x.shape[1:]} each, got {other_x.shape[1:]}"
            )
        scales.require_same(_rows(x), _rows(other_x), "the training part", f"{source}: test part", scale)
    classes = max(int(y.max()) + 1, len(class_names))
    if other_y.min() < 0 or other_y.max() >= classes:
        raise DataError(f"{source}: expected test labels from 0 to {classes - 1}, got {other_y.max()}")
    shape = x.shape[1:] if x.ndim != 3 else (*x.shape[1:], 1)
    planes = len(shape) == 3 and shape[0] in CHANNELS and shape[2] not in CHANNELS
    if planes:
        shape = (*shape[1:], shape[0])
    decision = scales.decide(_rows(x), _rows(other_x), scale, images=len(shape) > 1)
    preparation = decision.preparation._replace(shape=shape, planes=planes)
    parts = (Examples(preparation.apply(a), b.astype(np.int64)) for a, b in ((x, y), (other_x, other_y)))
    train_examples, test_examples = parts
    notes.append(decision.note)
    return Dataset(name, train_examples, test_examples, classes, class_names, tuple(notes), preparation)


def _rows(x: NDArray[Any]) -> NDArray[Any]:
    return x.reshape(len(x), -1)


def _checked(source: str, pair: tuple[Any, Any], part: str) -> tuple[NDArray[Any], NDArray[Any]]:
    x, y = np.asarray(pair[0]), np.asarray(pair[1])
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if x.ndim < 2 or not len(x) or x.dtype.kind not in "biuf":
        raise DataError(f"{source}: expected {part} inputs, numbers (n, …), got {x.dtype} of shape {x.shape}")
    if x.dtype.kind == "f" and not np.isfinite(x).all():
        raise DataError(f"{source}: expected finite {part} inputs, got infinite numbers or NaN")
    if y.dtype.kind == "f" and (y == np.floor(y)).all():
        y = y.astype(np.int64)
    if y.shape != (len(x),) or y.dtype.kind not in "iuUS":
        raise DataError(
            f"{source}: expected {part} labels, whole numbers ({len(x)},), got {y.dtype} of shape {y.shape}"
        )
    return x, y


def _find(arrays: dict[str, NDArray[Any]], part: str, kind: str) -> NDArray[Any] | None:
    lower = {name.lower(): array for name, array in arrays.items()}
    return next((lower[name] for name in NAMES[part, kind] if name in lower), None)


def _single(path: Path) -> NDArray[Any]:
    arrays = named(path)
    if len(arrays) != 1:
        raise DataError(f"{path}: expected one array, got {', '.join(arrays)}")
    return next(iter(arrays.values()))


def named(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays in a file, by name; the one of a `.npy` file has none."""
    try:
        with path.open("rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Python warns of invalid escapes in a damaged header
            found = np.load(file, allow_pickle=False)
            if not isinstance(found, np.lib.npyio.NpzFile):
                return {"array": found}
            with found:
                return {name: found[name] for name in found.files}
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from error
    except Exception as error:  # zipfile, zlib, tokenize and NumPy raise many kinds
        pickled = "pickle" in str(error)
        what = "pickled objects, which could run any code" if pickled else f"a damaged file ({error})"
        raise DataError(f"{path}: expected arrays of numbers, got {what}") from error

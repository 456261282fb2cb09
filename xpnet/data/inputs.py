"""Read inputs without labels from files of many kinds, in the form of the inputs of a known data set."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from xpnet.data import arrays, csv_table, folders, idx
from xpnet.data.csv_layout import LABELS, ROW_NAMES, Layout
from xpnet.data.dataset import Preparation
from xpnet.errors import DataError

PIXELS = 255.0  # the largest number of a picture
UNIT = 1.01  # inputs up to 1, with some rounding
LARGER = 8.0  # where training has at most 1: scaled in another way
X_NAMES = (*arrays.NAMES["test", "x"], *arrays.NAMES["all", "x"])
Part = tuple[NDArray[np.float32], list[str] | None]  # inputs, and their names or None


class Inputs(NamedTuple):
    """Inputs as `data.load` gives them, and what each is called.

    Fields:
        x: float32 (n, *shape).
        names: the path of each picture, the text in the column of row names, or the number from 1.
    """

    x: NDArray[np.float32]
    names: list[str]


class Reader(NamedTuple):
    """Makes inputs of files, as those of a data set were made.

    Fields:
        preparation: that of the data set.
        largest: the largest absolute value of its training inputs.
        prepared: the numbers in files are inputs already; pictures never are.
        resize: bring pictures of any size to that of the network.
        invert: swap black and white in pictures.
    """

    preparation: Preparation
    largest: float
    prepared: bool = False
    resize: bool = False
    invert: bool = False

    def read(self, paths: Sequence[Path]) -> Inputs:
        """The inputs in CSV files, pictures, folders of pictures, idx, `.npy` and `.npz` files, in order.

        A CSV file has the columns of the training file, with or without the label; with a header, in any
        order.

        Raises DataError where a file is unreadable, damaged, of another kind or of another shape, or where
        its numbers are scaled in another way.
        """
        parts = [self._read(path) for path in paths]
        names: list[str] = []
        for x, found in parts:
            numbers = range(len(names) + 1, len(names) + len(x) + 1)
            names += map(str, numbers) if found is None else found
        return Inputs(np.concatenate([x for x, _ in parts]), names)

    def _read(self, path: Path) -> Part:
        if path.is_dir():
            found = filter(folders.is_picture, path.rglob("*"))
            files = sorted(found, key=lambda each: folders.in_order(each.relative_to(path).as_posix()))
            if not files:
                raise DataError(f"{path}: expected pictures in this folder, got none")
            return self._pictures(files), [each.relative_to(path).as_posix() for each in files]
        if folders.is_picture(path):
            return self._pictures([path]), [str(path)]
        start = _start(path)
        if start.startswith(b"\x93NUMPY") or path.suffix in (".npy", ".npz"):
            return self.prepare(_array(path, self.preparation.shape), f"{path}: "), None
        if start.startswith(b"\0\0") or "-ubyte" in path.name:
            shape = self.preparation.shape
            return self.prepare(idx.read(path, shape[:2] if shape[2:] == (1,) else shape), f"{path}: "), None
        numbers, names = _table(path, self.preparation)
        return self.prepare(numbers, f"{path}: "), names

    def _pictures(self, paths: Sequence[Path]) -> NDArray[np.float32]:
        """Pictures as inputs (n, height, width, channels): white is the largest number in training files."""
        shape, mean, std = self.preparation.shape, self.preparation.mean, self.preparation.std
        if len(shape) != 3 or shape[2] not in folders.MODES or len(std) > 1 or any(mean):
            trained = "numbers that are no pixels" if len(shape) == 3 else f"inputs of shape {shape}"
            raise DataError(f"{paths[0]}: expected no picture for a run that was trained on {trained}")
        resize = self.resize or self.preparation.resized
        x = folders.pictures(paths, shape, resize, "--resize brings all to that size")
        if self.invert:
            x = 1 - x
        white = std[0] if std[0] != 1 else 1.0 if self.largest <= UNIT else PIXELS
        return x if white == std[0] else x * np.float32(white / std[0])

    def prepare(self, numbers: NDArray[Any], where: str = "") -> NDArray[np.float32]:
        """The inputs that numbers of a file (n, …) become.

        Raises DataError, which begins with `where`, for another number of values or another scale.
        """
        preparation = self.preparation
        if numbers.dtype.kind not in "biuf":
            raise DataError(f"{where}expected numbers, got {numbers.dtype}")
        if self.prepared:
            preparation = Preparation(preparation.shape, std=(1.0,))
        elif numbers.shape[1:] == preparation.shape:
            preparation = preparation._replace(planes=False)
        if not len(numbers) or (numbers.dtype.kind == "f" and not np.isfinite(numbers).all()):
            what = "infinite numbers or NaN" if len(numbers) else "none"
            raise DataError(f"{where}expected finite numbers, got {what}")
        try:
            x = preparation.apply(numbers)
        except DataError as error:
            raise DataError(f"{where}{error}") from error
        fractions = numbers.dtype.kind == "f" and bool((numbers != np.floor(numbers)).any())
        if (
            fractions
            and len(preparation.std) == 1
            and preparation.std[0] > LARGER
            and numbers.min() >= -1
            and numbers.max() <= 1
        ):
            largest = self.largest * preparation.std[0]
            raise DataError(
                f"{where}expected numbers up to {largest:.4g}, as in training, got up to "
                f"{numbers.max():.4g}: are they inputs already (--prepared)?"
            )
        self.require_scale(x, where)
        return x

    def require_scale(self, x: NDArray[Any], where: str = "") -> None:
        """DataError for inputs far above 1 where those of training are at most 1, as pixels are."""
        found = float(max(x.max(), -x.min()))
        if self.largest <= UNIT and found > LARGER:
            raise DataError(
                f"{where}expected inputs up to {self.largest:.4g}, as in training, got up to {found:.4g}: "
                "scaled in another way?"
            )


def _start(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(8)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from error


def _array(path: Path, shape: tuple[int, ...]) -> NDArray[Any]:
    """The array of inputs in a file of NumPy's, (n, …); a single example becomes the only one."""
    found = arrays.named(path)
    lower = {name.lower(): name for name in found}
    known = [lower[name] for name in X_NAMES if name in lower]
    if len(found) != 1 and not known:
        raise DataError(f"{path}: expected an array called x or x_test, got {', '.join(found) or 'none'}")
    array = found[known[0]] if known else next(iter(found.values()))
    values = math.prod(shape)
    if array.size == values and math.prod(array.shape[1:]) != values:
        return array[np.newaxis]
    return array


def _table(path: Path, preparation: Preparation) -> tuple[NDArray[Any], list[str] | None]:
    """The numbers in the input columns of a CSV file, (rows, columns), and the texts in one of row names."""
    content, layout = csv_table.open_(path)
    try:
        inputs, label = _columns(layout, preparation)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    rest = [i for i in range(layout.columns) if i not in inputs and i != label]
    if layout.header:
        rest = [i for i in rest if layout.header[i].lower() in ROW_NAMES or _is_unnamed(layout.header[i])]
    names = rest[0] if rest and (layout.header or rest[0] == 0) else None
    table = csv_table.read(path, content, layout, inputs, names)
    return table.values, table.labels


def _is_unnamed(name: str) -> bool:
    """Whether a column is that of pandas' row names."""
    return not name or name.lower().startswith("unnamed")


def _columns(layout: Layout, preparation: Preparation) -> tuple[tuple[int, ...], int | None]:
    """The positions of the input columns in the order of training, and that of the label if there is one."""
    expected, columns = preparation.columns, layout.columns
    values = math.prod(preparation.shape)
    if layout.header and len(set(expected)) == len(expected) > 0:
        position = {name.lower(): i for i, name in enumerate(layout.header)}
        missing = [name for name in expected if name.lower() not in position]
        if not missing:
            label = position.get(str(preparation.label).lower())
            return tuple(position[name.lower()] for name in expected), label
        if columns != values or len(missing) < len(expected):
            more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
            raise DataError(f"expected the columns of training, but {missing[0]}{more} is missing")
    if columns == values:
        return tuple(range(columns)), None
    others = [each for each in (preparation.label, *preparation.skipped) if each is not None]
    places = [each - 1 for each in others if isinstance(each, int)]
    if len(places) == len(others):
        label = preparation.label - 1 if isinstance(preparation.label, int) else None
        if columns == values + len(others):
            return tuple(i for i in range(columns) if i not in places), label
        if label is not None and columns == values + len(others) - 1:
            skipped = [place - (place > label) for place in places if place != label]
            return tuple(i for i in range(columns) if i not in skipped), None
    known = [i for i, name in enumerate(layout.header or ()) if name.lower() in LABELS]
    if columns == values + 1 and len(known) == 1:
        return tuple(i for i in range(columns) if i != known[0]), known[0]
    hint = ": leave the label out" if columns == values + 1 else ""
    raise DataError(f"expected {values} columns of numbers as in training, got {columns}{hint}")

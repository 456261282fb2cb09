"""Read inputs to predict from, as those were prepared that a network was trained on."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from xpnet.data import arrays, csv_table, folders, idx
from xpnet.data.csv_layout import ROW_NAMES, Layout
from xpnet.data.dataset import Preparation
from xpnet.data.find import exists
from xpnet.errors import DataError


class Inputs(NamedTuple):
    """What a file to predict from holds.

    Fields:
        x: inputs (n, *shape), float32, as the network takes them before any `data.normalize`.
        names: of each row or picture: a path, what an id column says, or its number from 1.
        labels: the text of the label column, where the file has it, or None.
    """

    x: NDArray[np.float32]
    names: tuple[str, ...]
    labels: tuple[str, ...] | None = None


def read(path: Path, preparation: Preparation) -> Inputs:
    """The inputs in a CSV file with or without labels, an array, an idx file, a picture or a folder of them.

    Pictures are brought to the size of the images that the network was trained on.

    Raises DataError where the file is missing or damaged, or its inputs have another size.
    """
    if not exists(path):
        raise DataError(f"{path}: no such file or folder")
    if path.is_dir():
        paths = sorted(
            (each for each in path.rglob("*") if folders.is_picture(each)),
            key=lambda each: folders.in_order(str(each.relative_to(path))),
        )
        if not paths:
            raise DataError(f"{path}: expected pictures, such as PNG or JPEG files, got none")
        return _pictures(paths, preparation)
    if folders.is_picture(path):
        return _pictures([path], preparation)
    try:
        if path.suffix in (".npy", ".npz"):
            x = preparation.apply(arrays.inputs(path))
        elif "idx3" in path.name:
            images = idx.read(path, _size(path, preparation)[:2])
            x = preparation._replace(planes=False).apply(images)
        else:
            return _table(path, preparation)
    except DataError as error:
        text = str(error)
        raise DataError(text if text.startswith(str(path)) else f"{path}: {text}") from error
    return Inputs(x, tuple(str(i + 1) for i in range(len(x))))


def _size(path: Path, preparation: Preparation) -> tuple[int, ...]:
    if len(preparation.shape) != 3:
        raise DataError(
            f"{path}: expected rows of {math.prod(preparation.shape)} numbers, as in training, got images"
        )
    return preparation.shape


def _pictures(paths: Sequence[Path], preparation: Preparation) -> Inputs:
    shape = _size(paths[0], preparation)
    x = folders.pictures(paths, shape, resize=True)  # from 0 to 1, which any one divisor leads to
    if any(preparation.mean) or len(set(preparation.std)) > 1:
        x = preparation._replace(planes=False).apply(x * 255)
    return Inputs(x, tuple(map(str, paths)))


def _table(path: Path, preparation: Preparation) -> Inputs:
    content, layout = csv_table.open_(path)
    columns, label = _columns(path, layout, preparation)
    table = csv_table.read(path, content, layout, columns, label)
    names = tuple(str(i + 1) for i in range(len(table.values)))
    if layout.header:
        found = [i for i, name in enumerate(layout.header) if name.lower() in ROW_NAMES and i not in columns]
        if found and found[0] != label:
            rows = csv_table.read(path, content, layout, columns[:1], found[0])
            names = tuple(rows.labels or ())
    labels = None if table.labels is None else tuple(table.labels)
    return Inputs(preparation.apply(table.values), names, labels)


def _columns(path: Path, layout: Layout, preparation: Preparation) -> tuple[tuple[int, ...], int | None]:
    """The positions of the inputs and of the label, None without one."""
    wanted, header = preparation.columns, layout.header
    if wanted and header and len(set(wanted)) == len(wanted):
        position = {name: i for i, name in enumerate(header)}
        missing = [name for name in wanted if name not in position]
        if missing:
            more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
            raise DataError(f"{path}: expected the columns of training, but {missing[0]}{more} is missing")
        return tuple(position[name] for name in wanted), position.get(str(preparation.label))
    number = math.prod(preparation.shape)
    if layout.columns == number:
        return tuple(range(number)), None
    label = preparation.label
    if header and isinstance(label, str) and label in header and layout.columns == number + 1:
        place = header.index(label)
        return tuple(i for i in range(layout.columns) if i != place), place
    if isinstance(label, int) and layout.columns == number + 1 + len(preparation.skipped):
        left = {label - 1, *(each - 1 for each in preparation.skipped if isinstance(each, int))}
        return tuple(i for i in range(layout.columns) if i not in left), label - 1
    raise DataError(f"{path}: expected {number} columns, the inputs of the network, got {layout.columns}")

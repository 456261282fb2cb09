"""Read a data set from two CSV files: a row is an image, one column is its label, the others are its pixels.

Many courses hand out MNIST in this form: the label first, then 784 pixels from 0 to 255. Commas separate the
fields, which are not quoted. One header line and all empty lines are skipped.
"""

import math
import warnings
from pathlib import Path
from typing import Any, Literal, TextIO

import numpy as np
from numpy.typing import NDArray

from xpnet.errors import DataError

Pair = tuple[NDArray[np.float32], NDArray[np.int64]]
Label = Literal["first", "last"]

MAX_CLASSES = 65_536  # a damaged label must not give the network a billion outputs


def read(train: Path, test: Path, label: Label = "first") -> tuple[Pair, Pair, int]:
    """Training and test examples, each as (x, y), and the number of classes.

    Arguments:
        train, test: the files.
        label: the column of the label, the "first" or the "last".

    Returns x (n, columns) float32 in [0, 1] and y (n,) int64, 0 to classes - 1. If any training pixel is
    above 1, the pixels of both files range from 0 to 255.

    Raises DataError, with the line and column, where a file is unreadable or damaged, or where all training
    labels are equal: then the label column probably holds a pixel that is always 0.
    """
    table = _table(train, label)
    pixels, labels = _columns(table, label)
    high = 255 if (pixels > 1).any() else 1
    _check(train, table, label, table.shape[1], high, MAX_CLASSES)
    classes = int(labels.max()) + 1
    if (labels == labels[0]).all():
        other = "label=last" if label == "first" else "label=first"
        raise DataError(
            f"{train}: every label ({label} column) is {classes - 1}: are the labels elsewhere ({other})?"
        )
    test_table = _table(test, label)
    _check(test, test_table, label, table.shape[1], high, classes)
    return _pair(table, label, high), _pair(test_table, label, high), classes


def _columns(table: NDArray[Any], label: Label) -> tuple[NDArray[Any], NDArray[Any]]:
    return (table[:, 1:], table[:, 0]) if label == "first" else (table[:, :-1], table[:, -1])


def _pair(table: NDArray[Any], label: Label, high: int) -> Pair:
    pixels, labels = _columns(table, label)
    x = pixels.astype(np.float32)
    x /= high
    return x, labels.astype(np.int64)


def _open(path: Path) -> TextIO:
    # Spreadsheets write a byte order mark. A byte that is not UTF-8 makes its field an invalid number.
    return path.open(encoding="utf-8-sig", errors="replace")


def _table(path: Path, label: Label) -> NDArray[Any]:
    """The numbers in the file, (rows, columns): unsigned bytes if all numbers fit, else float64."""
    try:
        try:
            return _loadtxt(path, np.uint8)  # 9 times as fast as floats
        except (ValueError, Warning):
            return _loadtxt(path, np.float64)
    except (ValueError, Warning) as error:
        raise DataError(f"{path}: {_first_fault(path, label) or error}") from error
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from error


def _loadtxt(path: Path, dtype: type) -> NDArray[Any]:
    with _open(path) as file, warnings.catch_warnings():
        # NumPy only warns of a file without rows and, in older versions, of a 0.5 read as the integer 0.
        warnings.simplefilter("error")
        if not _is_header(file.readline()):
            file.seek(0)
        return np.loadtxt(file, dtype, delimiter=",", comments=None, ndmin=2)


def _check(path: Path, table: NDArray[Any], label: Label, columns: int, high: int, classes: int) -> None:
    pixels, labels = _columns(table, label)
    if (
        table.shape[1] != columns
        or columns < 2
        or not (pixels.min() >= 0 and pixels.max() <= high)  # in this form NaN fails too
        or not (labels.min() >= 0 and labels.max() < classes)
        or (labels != np.floor(labels)).any()
    ):
        raise DataError(f"{path}: {_first_fault(path, label, columns, high, classes)}")


def _first_fault(
    path: Path, label: Label, columns: int = 0, high: int = 255, classes: int = MAX_CLASSES
) -> str:
    """Read the file field by field, slowly, and describe its first fault.

    `columns` is the expected number of columns; 0 means as many as in the first row.
    """
    rows = 0
    with _open(path) as file:
        for number, line in enumerate(file, 1):
            if line == "\n" or (number == 1 and _is_header(line)):
                continue
            rows += 1
            fields = line.rstrip("\n").split(",")
            columns = columns or len(fields)
            if columns < 2:
                return f"line {number}: expected a label and at least one pixel, got {len(fields)} column"
            if len(fields) != columns:
                return f"line {number}: expected {columns} columns, got {len(fields)}"
            label_column = 1 if label == "first" else columns
            for column, field in enumerate(fields, 1):
                value = _number(field)
                if value is None:
                    expected = "a number"
                elif not math.isfinite(value):
                    expected = "a finite number"
                elif column == label_column:
                    if 0 <= value < classes and value == int(value):
                        continue
                    expected = f"a label, a whole number from 0 to {classes - 1}"
                elif 0 <= value <= high:
                    continue
                else:
                    expected = f"a pixel from 0 to {high}"
                return f"line {number}, column {column}: expected {expected}, got {field[:40]!r}"
    return "" if rows else "expected rows of numbers, got none"


def _is_header(line: str) -> bool:
    return all(_number(field) is None for field in line.split(","))


def _number(field: str) -> float | None:
    try:
        # float() also accepts 1_000 and the digits of any script; np.loadtxt does not.
        return float(field) if field.isascii() and "_" not in field else None
    except ValueError:
        return None

"""The rows of a CSV file as arrays, and the line and column of what is wrong in it."""

import csv
import itertools
import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from xpnet.data import csv_layout, csv_numbers, text
from xpnet.data.csv_layout import Layout
from xpnet.data.csv_numbers import LARGEST, number
from xpnet.errors import DataError

SHOWN_BAR = 1 << 24  # bytes of text: reading less takes no time that a progress bar could show
UNIT = "\x1f"  # separates fields that held separators themselves


class Table(NamedTuple):
    """The rows of a file.

    Fields:
        values: the numbers of the input columns, (rows, inputs): unsigned bytes, float32 or float64.
        labels: the text of the label column, or None without one.
        inputs: the positions of the input columns.
    """

    path: Path
    content: bytes
    layout: Layout
    values: NDArray[Any]
    labels: list[str] | None
    label: int | None
    inputs: tuple[int, ...]

    def fault(self, row: int, column: int, expected: str) -> DataError:
        """The error about one field."""
        line, fields = place(self.content, self.layout, row)
        return DataError(
            f"{self.path}: line {line}, column {column + 1}: expected {expected}, got {fields[column][:40]!r}"
        )


def open_(path: Path, separator: str | None = None, header: bool | None = None) -> tuple[bytes, Layout]:
    """The text of a file and its layout. Raises DataError where it has no rows."""
    content = text.read(path)
    layout = csv_layout.find(content, separator, header)
    if layout is None or not layout.sample:
        raise DataError(f"{path}: expected rows of numbers, got none")
    if layout.header and len(layout.header) != layout.columns:
        raise DataError(
            f"{path}: expected {layout.columns} names in the header, one for each column, "
            f"got {len(layout.header)}: {', '.join(layout.header[:3])}, …"
        )
    return content, layout


def read(path: Path, content: bytes, layout: Layout, inputs: tuple[int, ...], label: int | None) -> Table:
    """The rows of a file.

    Arguments:
        inputs: the positions of the columns of numbers.
        label: the position of the column of labels, or None.

    Raises DataError, with line and column, for a row of another length or a field that is no finite number.
    """
    start = 0
    for _ in range(layout.skipped):
        start = content.find(b"\n", start) + 1
    columns = _as_slice(inputs)
    body = content if not start and content.endswith(b"\n") else content[start:].rstrip(b"\n") + b"\n"
    values = np.empty((body.count(b"\n"), len(inputs)), np.uint8)
    labels: list[bytes] = []
    rows = 0
    with _bar(path, len(body)) as bar:
        for piece in csv_numbers.pieces(body):
            found = _parse(piece, layout, columns, label)
            if found is None:
                raise DataError(f"{path}: {_fault(content, layout, inputs, rows)}")
            part, some = found
            if (dtype := np.result_type(values, part)) != values.dtype:
                before, values = values[:rows], np.empty(values.shape, dtype)
                values[:rows] = before
            values[rows : rows + len(part)] = part
            labels += some
            rows += len(part)
            if bar is not None:
                bar.update(len(piece))
    return Table(
        path,
        content,
        layout,
        values[:rows],
        _strings(labels, layout.quoted) if label is not None else None,
        label,
        inputs,
    )


def _bar(path: Path, size: int) -> Any:
    import contextlib

    if size < SHOWN_BAR:
        return contextlib.nullcontext()
    from tqdm import tqdm  # late: slow to import

    return tqdm(desc=path.name, total=size, unit="B", unit_scale=True, leave=False, disable=None, delay=1)


def _as_slice(columns: tuple[int, ...]) -> Any:
    """Neighbouring columns as a slice, which takes them without a copy."""
    first, last = columns[0], columns[-1]
    return slice(first, last + 1) if columns == tuple(range(first, last + 1)) else list(columns)


def _strings(fields: list[bytes], quoted: bool) -> list[str]:
    different = {field: text.decode(field).strip() for field in set(fields)}
    if not quoted:
        different = {field: string.strip('"').strip() for field, string in different.items()}
    return [different[field] for field in fields]


def _parse(
    piece: bytes, layout: Layout, columns: Any, label: int | None
) -> tuple[NDArray[Any], list[bytes]] | None:
    """Numbers and labels of some lines; None where a row or a field is wrong."""
    plain = layout.separator != " " and not (layout.quoted or layout.trailing or layout.decimal_comma)
    plain = plain and b"#" not in piece  # a comment may have as many separators as a row
    tidy = _tidy(piece, layout) if not plain else piece
    for attempt in (tidy, None):
        if attempt is None:  # blanks, comments and quotes are looked for only where something is wrong
            attempt = _tidy(piece, layout)
            if not plain or attempt == piece:
                return None
        fields = csv_numbers.find(attempt, ord(UNIT if layout.quoted else layout.separator), layout.columns)
        if fields is None:
            continue
        values = csv_numbers.numbers(fields, columns)
        if values.dtype == np.uint8 or (np.abs(values) < LARGEST).all():
            return values, fields.column(label) if label is not None else []
    return None


def _tidy(piece: bytes, layout: Layout) -> bytes:
    """The rows without blank lines, comments, blanks around fields, quotes and separators at the end."""
    lines = [line.strip(b" ") for line in piece.split(b"\n") if csv_layout.is_row(line)]
    separator = layout.separator.encode()
    if layout.quoted:
        rows = csv.reader(map(text.decode, lines), delimiter=layout.separator, skipinitialspace=True)
        lines = [UNIT.join(field.strip() for field in row).encode() for row in rows]
        separator = UNIT.encode()
    if layout.trailing:
        lines = [line.removesuffix(separator) for line in lines]
    if layout.separator == " ":
        lines = [b" ".join(line.split()) for line in lines]
    tidy = b"".join(line + b"\n" for line in lines)
    if b'"' in tidy and not layout.quoted:
        tidy = tidy.replace(b'"', b"")
    if layout.decimal_comma:
        tidy = tidy.replace(b",", b".")
    if layout.separator != " ":
        blanks = b" *" if layout.separator == "\t" else b"[ \t]*"
        tidy = re.sub(blanks + b"([" + re.escape(separator) + b"\n])" + blanks, rb"\1", tidy)
    return tidy


def place(content: bytes, layout: Layout, row: int) -> tuple[int, list[str]]:
    """The line of a row, counted from 0, and its fields."""
    lines = (each for each in csv_layout.numbered_lines(content) if each[0] > layout.skipped)
    line, found = next(itertools.islice(lines, row, None))
    return line, _fields(found, layout)


def _fields(line: bytes, layout: Layout) -> list[str]:
    (fields,) = csv_layout.split([text.decode(line).strip(" ")], layout.separator) or [[]]
    if layout.trailing and fields[-1] == "":
        fields = fields[:-1]
    return [field.replace(",", ".") for field in fields] if layout.decimal_comma else fields


def _fault(content: bytes, layout: Layout, inputs: tuple[int, ...], rows: int) -> str:
    """What is wrong in the first row, from the one of that number on, that is not as it should be."""
    lines = (each for each in csv_layout.numbered_lines(content) if each[0] > layout.skipped)
    for line, found in itertools.islice(lines, rows, None):
        fields = _fields(found, layout)
        if len(fields) != layout.columns:
            hint = ""
            if len(fields) == 1:
                others = [each for each in ";\t|," if each in fields[0] and each != layout.separator]
                hint = f": separated by {others[0]!r}?" if others else ""
            return f"line {line}: expected {layout.columns} columns, got {len(fields)}{hint}"
        for column in inputs:
            value = number(fields[column])
            if value is None or not abs(value) < LARGEST:
                expected = "a number" if value is None else "a finite number"
                return f"line {line}, column {column + 1}: expected {expected}, got {fields[column][:40]!r}"
    return "expected rows of numbers"  # not reached: a piece that cannot be read has a fault

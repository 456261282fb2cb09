"""Read a data set from one or two CSV files: a row is an example, one column its label, the others numbers.

Options say which column is the label, what is left out and what the numbers are divided by. Where they
do not, both files together decide, and `Dataset.notes` tells what was decided.
"""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from xpnet.data import csv_table, scales, splits
from xpnet.data.csv_layout import LABELS, ROW_NAMES, Layout, column_of
from xpnet.data.csv_numbers import number
from xpnet.data.csv_table import Table
from xpnet.data.dataset import IMAGES, Dataset, Examples
from xpnet.data.labels import Labels
from xpnet.errors import DataError

COUNTED = 20  # rows: as many that count 0, 1, 2 are no labels


class Options(NamedTuple):
    """What a user says about the files.

    Fields:
        label: the label column: its name, first, last, or its number from 1; None: found.
        skip: names or numbers of columns to leave out.
        scale: see `scales.decide`.
        shape: of an image, (height, width, channels), and whether the file has one channel after the other.
        header: whether the first line is one; None: found.
        separator: None: found.
        test: the share of the rows that become test examples where there is no test file.
    """

    label: str | None = None
    skip: tuple[str, ...] = ()
    scale: str | None = None
    shape: tuple[tuple[int, ...], bool] | None = None
    header: bool | None = None
    separator: str | None = None
    test: float = 0.2


class Roles(NamedTuple):
    """What the columns are for: positions of the label and of the inputs."""

    label: int
    inputs: tuple[int, ...]
    notes: tuple[str, ...]


def read(name: str, train: Path, test: Path | None, options: Options) -> Dataset:
    """The data set in the files.

    Arguments:
        train, test: the files; without a test file, a share of the rows of each class is drawn for the test,
            always the same rows, and the others are shuffled.

    Raises DataError, with the line and column, where a file is unreadable or damaged, where a label of the
    test file is not in the training file, where the two are scaled differently, or where a column cannot be
    what it is said to be.
    """
    content, layout = csv_table.open_(train, options.separator, options.header)
    try:
        roles = _roles(layout, options)
    except DataError as error:
        raise DataError(f"{train}: {error}") from error
    table = csv_table.read(train, content, layout, roles.inputs, roles.label)
    labels = Labels.of(table)
    notes = [*roles.notes, *labels.notes, *filter(None, [layout.note])]
    y = labels.numbers(table)
    if test is None:
        first, rest, note = splits.cut_off(y, options.test)
        numbers, other_numbers = table.values[first], table.values[rest]
        y, other_y = y[first], y[rest]
        notes.append(note)
    else:
        other = _test_table(test, table, options)
        numbers, other_numbers = table.values, other.values
        other_y = labels.numbers(other)
        scales.require_same(numbers, other_numbers, str(train), str(test), options.scale)
    image, planes = options.shape or ((numbers.shape[1],), False)
    images = len(image) > 1 or image[0] in IMAGES
    scale = scales.decide(numbers, other_numbers, options.scale, images)
    if scale.limit is not None:
        for one in (table,) if test is None else (table, other):
            _require_range(one, scale.limit)
    preparation = scale.preparation._replace(
        shape=image, planes=planes, label=_called(layout, roles.label), **_columns(layout, roles)
    )
    try:
        parts = [preparation.apply(each) for each in (numbers, other_numbers)]
    except DataError as error:
        raise DataError(f"{train}: shape={'x'.join(map(str, image))}: {error}") from error
    examples = Examples(parts[0], y), Examples(parts[1], other_y)
    return Dataset(name, *examples, labels.classes, labels.names, (*notes, scale.note), preparation)


def _columns(layout: Layout, roles: Roles) -> dict[str, Any]:
    skipped = set(range(layout.columns)) - {roles.label, *roles.inputs}
    names = tuple(layout.header[i] for i in roles.inputs) if layout.header else ()
    return {"columns": names, "skipped": tuple(_called(layout, i) for i in sorted(skipped))}


def _called(layout: Layout, column: int) -> str | int:
    """The name of a column, or its number from 1."""
    return layout.header[column] if layout.header else column + 1


def _in_words(layout: Layout, column: int) -> str:
    if layout.header and layout.header[column]:
        return f"column {layout.header[column]}"
    ends = {0: "the first column", layout.columns - 1: "the last column"}
    return ends.get(column, f"column {column + 1}")


def _roles(layout: Layout, options: Options) -> Roles:
    """Which column is the label and which are inputs, by the header and the first rows.

    Raises DataError where an option names a column that is not there, or nothing says which is the label.
    """
    names, columns, sample = layout.header, layout.columns, layout.sample
    if columns < 2:
        found = sample[0][0]
        others = [f": separated by {each!r}?" for each in ";\t|, " if each in found]
        raise DataError(
            f"line {layout.skipped + 1}: expected a label and at least one number, got {found[:40]!r}"
            f"{(others or [''])[0]}"
        )
    label = None if options.label is None else column_of(options.label, names, columns, "label")
    skipped = {column_of(each, names, columns, "skip") for each in options.skip}
    notes = []
    first = names[0].lower() if names else None
    counts = len(sample) >= COUNTED and _counts_rows([row[0] for row in sample if row])
    unnamed = first is not None and (first == "" or first.startswith("unnamed"))
    if label != 0 and 0 not in skipped and (unnamed or counts or first in ROW_NAMES):
        skipped.add(0)
        what = "unnamed first column" if unnamed else f"first column, {first}," if first else "first column"
        notes.append(f"the {what}{' (row numbers)' if counts else ''} is left out")
    rest = [i for i in range(columns) if i not in skipped]
    words = [i for i in rest if _holds_words([row[i] for row in sample if i < len(row)])]
    if label is None:
        known = [i for i in rest if names and names[i].lower() in LABELS]
        if len(known) > 1:
            named = " and ".join(_in_words(layout, i) for i in known)
            raise DataError(f"{named}: which is the label (label=…), and is the other one left out (skip=…)?")
        if len(known) == 1 or len(words) == 1:
            label = known[0] if len(known) == 1 else words[0]
        elif counts and not names:
            raise DataError(
                "the first column counts the rows: which column is the label, label=last or label=N?"
            )
        elif not words and rest:
            label = rest[0]
        else:
            named = ", ".join(_in_words(layout, i) for i in words)
            raise DataError(
                f"words in {named}: which is the label (label=…), and which to leave out (skip=…)?"
            )
    if label in skipped:
        raise DataError(f"skip={options.skip[0]}: expected another column than the label")
    inputs = tuple(i for i in rest if i != label)
    if not inputs:
        raise DataError(f"expected a label and at least one number in a row, got {columns} columns")
    for i in words:
        if i != label:
            raise DataError(
                f"{_in_words(layout, i)} holds words, such as {sample[0][i][:40]!r}: leave it out with "
                f"skip={_called(layout, i)}"
            )
    return Roles(label, inputs, (f"label: {_in_words(layout, label)}", *notes))


def _counts_rows(fields: list[str]) -> bool:
    values = [number(field) for field in fields]
    return values[0] in (0, 1) and values == [values[0] + i for i in range(len(values))]


def _holds_words(fields: list[str]) -> bool:
    """Whether more than half of the fields are words: a few damaged numbers are not."""
    return 2 * sum(bool(field) and number(field) is None for field in fields) > len(fields)


def _test_table(path: Path, train: Table, options: Options) -> Table:
    """The rows of the test file, its columns in the order of the training file's."""
    content, layout = csv_table.open_(path, options.separator, options.header)
    label, inputs, columns = train.label, train.inputs, train.layout.columns
    assert label is not None
    if layout.header and train.layout.header:
        position = {name: i for i, name in enumerate(layout.header)}
        names = [train.layout.header[i] for i in (label, *inputs)]
        if len(position) == layout.columns and len(set(names)) == len(names):
            missing = [name for name in names if name not in position]
            if names[0] in missing:
                raise DataError(f"{path}: {_without_labels(layout.columns, columns, names[0])}")
            if missing:
                more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
                raise DataError(
                    f"{path}: expected the columns of {train.path.name}, but {missing[0]}{more} is missing"
                )
            label, *rest = (position[name] for name in names)
            return csv_table.read(path, content, layout, tuple(rest), label)
    if layout.columns == columns - 1:
        raise DataError(f"{path}: {_without_labels(layout.columns, columns, None)}")
    if layout.columns != columns:
        line, _ = csv_table.place(content, layout, 0)
        raise DataError(
            f"{path}: line {line}: expected {columns} columns, as in {train.path.name}, got {layout.columns}"
        )
    return csv_table.read(path, content, layout, inputs, label)


def _without_labels(found: int, expected: int, name: str | None) -> str:
    called = f"the label column {name}" if name else "the label column"
    return (
        f"{called} is missing: {found} columns where training has {expected}; a test needs "
        "labels: leave the file out, to test on rows of the training file"
    )


def _require_range(table: Table, limit: float) -> None:
    """DataError unless all numbers are from 0 to the limit."""
    values: NDArray[Any] = table.values
    if values.min() < 0 or values.max() > limit:
        row, i = np.unravel_index(np.argmax((values < 0) | (values > limit)), values.shape)
        raise table.fault(
            int(row), table.inputs[int(i)], f"a number from 0 to {limit:g} (or another scale=…)"
        )

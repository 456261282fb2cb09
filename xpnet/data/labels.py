"""The labels of a table as classes: whole numbers from 0, other whole numbers, or words."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from xpnet.data.csv_numbers import number
from xpnet.data.csv_table import Table
from xpnet.errors import DataError

MAX_CLASSES = 65_536  # a damaged label must not give the network a billion outputs
SHOWN = 6  # names in a note or an error
FEW = 20  # rows: of fewer, each may have a label of its own


class Labels(NamedTuple):
    """The classes of a training file.

    Fields:
        classes: their number.
        names: as the file has them, or empty where these are the numbers of the classes.
        notes: what to tell about them.
        known: the class of each label that the file has.
    """

    classes: int
    names: tuple[str, ...]
    notes: tuple[str, ...]
    known: dict[str, int]

    @classmethod
    def of(cls, table: Table) -> "Labels":
        """The classes of the labels of a training file.

        Raises DataError where a label is neither like the others nor a whole number, where all are equal, and
        where they are too many for classes.
        """
        assert table.labels is not None
        assert table.label is not None
        counts = dict.fromkeys(table.labels, 0)
        for label in table.labels:
            counts[label] += 1
        values = {label: number(label) for label in counts}
        words = [label for label, value in values.items() if value is None]
        column = table.label
        if "" in counts:
            raise table.fault(table.labels.index(""), column, "a label")
        if words and 2 * sum(counts[label] for label in words) < len(table.labels):
            raise table.fault(table.labels.index(words[0]), column, "a number")  # a stray word
        for label, value in values.items():
            if not words and value is not None and not (abs(value) < np.inf and value == int(value)):
                finite = f"a label, a whole number from 0 to {MAX_CLASSES - 1}"
                expected = finite if abs(value) < np.inf else "a finite number"
                raise table.fault(table.labels.index(label), column, expected)
        _require_classes(table, len(counts) if words else len(set(values.values())))
        if words:
            names = sorted(counts)
            return cls(len(names), tuple(names), (_classes(names),), {n: i for i, n in enumerate(names)})
        whole = {label: int(value) for label, value in values.items() if value is not None}
        smallest, largest = min(whole.values()), max(whole.values())
        if smallest == 0:
            if largest >= MAX_CLASSES:
                label = next(label for label, value in whole.items() if value >= MAX_CLASSES)
                expected = f"a label, a whole number from 0 to {MAX_CLASSES - 1}"
                raise table.fault(table.labels.index(label), column, expected)
            return cls(largest + 1, (), (), whole)
        order = sorted(set(whole.values()))
        names = list(map(str, order))
        classes = {value: i for i, value in enumerate(order)}
        known = {label: classes[value] for label, value in whole.items()}
        return cls(len(names), tuple(names), (_classes(names),), known)

    def numbers(self, table: Table) -> NDArray[np.int64]:
        """The class of each row, (rows,). DataError for a label that the training file does not have."""
        assert table.labels is not None
        assert table.label is not None
        known = {label: self._find(label) for label in set(table.labels)}
        for label, found in known.items():
            if found is None:
                raise table.fault(table.labels.index(label), table.label, self._expected())
        return np.array([known[label] for label in table.labels], np.int64)

    def _find(self, label: str) -> int | None:
        if label in self.known:
            return self.known[label]
        value = number(label)
        if value is None or not abs(value) < np.inf or value != int(value):
            return None
        if not self.names:
            return int(value) if 0 <= value < self.classes else None
        text = str(int(value))  # 1.0 for 1
        return self.names.index(text) if text in self.names else None

    def _expected(self) -> str:
        if not self.names:
            return f"a label of the training file, from 0 to {self.classes - 1}"
        return f"a label of the training file, {_listed(self.names)}"


def _require_classes(table: Table, different: int) -> None:
    """DataError unless the labels can be classes."""
    assert table.labels is not None
    assert table.label is not None
    rows, columns, label = len(table.labels), table.layout.columns, table.label
    where = {0: "first column", columns - 1: "last column"}.get(label, f"column {label + 1}")
    other = "label=first" if label == columns - 1 else "label=last"
    if different == 1:
        raise DataError(
            f"{table.path}: every label ({where}) is {table.labels[0]}: are the labels elsewhere ({other})?"
        )
    if (rows > FEW and 2 * different > rows) or different > MAX_CLASSES:
        raise DataError(
            f"{table.path}: the {where}, taken as the label, has {different:,} different values in "
            f"{rows:,} rows: are the labels elsewhere ({other})?"
        )


def _classes(names: Sequence[str]) -> str:
    return f"{len(names)} classes: {_listed(names)}"


def _listed(names: Sequence[str]) -> str:
    if len(names) <= SHOWN:
        return ", ".join(names)
    return f"{', '.join(names[: SHOWN - 1])}, … {names[-1]}"

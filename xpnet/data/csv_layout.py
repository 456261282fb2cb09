"""How a CSV file is laid out: what separates its fields, and whether its first line is a header."""

import csv
import re
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from xpnet.data.csv_numbers import number
from xpnet.data.text import decode
from xpnet.errors import DataError

SEPARATORS = {"tab": "\t", "semicolon": ";", "bar": "|", "comma": ",", "space": " "}
SAMPLE = 200  # lines that decide
LABELS = ("label", "labels", "class", "target", "y", "species")  # names of the label column, if none is given
ROW_NAMES = ("id", "index", "idx", "row", "rownames", "row_id", "imageid", "image_id")  # of rows, not inputs
FEWEST_NAMES = 4  # whole numbers in a row that may be names: 0, 1, 2, 3
MANGLED = "line 1 is an example that pandas once took for a header, and is left out"
Row = list[str]


class Layout(NamedTuple):
    """How the rows of a file are written.

    Fields:
        separator: of the fields; " " stands for any blanks.
        columns: in each row.
        header: the names of the columns, or None.
        skipped: the number of lines before the first row of data.
        quoted: fields in quotes hold separators or line ends.
        trailing: rows end with a separator.
        decimal_comma: numbers are written 0,5.
        sample: the first rows of data.
        note: what to tell about the header, or empty.
    """

    separator: str
    columns: int
    header: tuple[str, ...] | None
    skipped: int
    quoted: bool
    trailing: bool
    decimal_comma: bool
    sample: list[Row]
    note: str = ""


def numbered_lines(text: bytes) -> Iterator[tuple[int, bytes]]:
    """The lines that hold a row or a header, with their numbers: neither blank nor a comment."""
    start, number = 0, 0
    while start < len(text):
        end = text.find(b"\n", start)
        end = len(text) if end < 0 else end
        line = text[start:end]
        start, number = end + 1, number + 1
        if is_row(line):
            yield number, line


def is_row(line: bytes) -> bool:
    """Whether a line is neither blank, nor separators alone, nor a comment after "#"."""
    return bool(line.strip(b" \t,;|\x1a")) and not line.lstrip().startswith(b"#")


def find(text: bytes, separator: str | None, header: bool | None) -> Layout | None:
    """The layout of a file; None where no line holds a row.

    Arguments:
        separator: one of `SEPARATORS`' values, or None: found.
        header: whether the first line is one, or None: found.
    """
    lines: list[str] = []
    numbers: list[int] = []
    for n, line in numbered_lines(text):
        lines.append(decode(line).strip(" "))
        numbers.append(n)
        if len(lines) == SAMPLE:
            break
    if not lines:
        return None
    separator = separator or _separator(lines)
    rows = split(lines, separator)
    trailing = len(rows[-1]) > 1 and all(row[-1] == "" for row in rows[1:] or rows)
    if trailing:
        rows = [row[:-1] if row[-1] == "" else row for row in rows]
    columns = Counter(len(row) for row in rows[1:] or rows).most_common(1)[0][0]
    note = ""
    if header is None:
        header, note = _has_header(rows)
    names = tuple(rows[0]) if header else _commented_header(text, numbers[0], separator, columns)
    data = [row for row in (rows[1:] if header else rows) if len(row) == columns]
    if names and len(names) == columns + 1 and names[-1] == "":
        names = names[:-1]
    if header and len(data) and len(rows[0]) == columns - 1:  # R writes no name above the names of rows
        names = ("", *rows[0])
    if note:
        names = None if note == MANGLED else names
    elif names is not None:
        names = tuple(name.lstrip("# ") for name in names[:1]) + names[1:]
    quoted = '"' in "".join(lines) and any(
        separator in field or "\n" in field for row in data for field in row
    )
    decimal_comma = separator in "; \t|" and any(
        re.fullmatch(r"[+-]?\d+,\d+(e[+-]?\d+)?", f) for r in data for f in r
    )
    skipped = numbers[1] - 1 if header and len(numbers) > 1 else numbers[0] - (not header)
    return Layout(separator, columns, names, skipped, quoted, trailing, decimal_comma, data, note)


def split(lines: list[str], separator: str) -> list[Row]:
    """The fields of each line, without blanks around and without quotes."""
    if separator == " ":
        return [[field.strip('"') for field in line.split()] for line in lines]
    try:
        rows = list(csv.reader(lines, delimiter=separator, skipinitialspace=True))
    except csv.Error:  # a field of more than 128 kB
        rows = [line.split(separator) for line in lines]
    return [[field.strip() for field in row] for row in rows if row]


def _separator(lines: list[str]) -> str:
    """The separator that occurs as often in each line; a comma may also be in numbers, so it comes late."""
    best = (0, ",")
    for separator in SEPARATORS.values():
        counts = Counter(len(row) for row in split(lines, separator))
        columns, often = counts.most_common(1)[0]
        if columns > 1 and (often >= len(lines) - 1):
            return separator
        if columns > 1:
            best = max(best, (often, separator))
    return best[1]


def _has_header(rows: list[Row]) -> tuple[bool, str]:
    """Whether the first row names the columns, and a note if it is an example that pandas took for names."""
    first, rest = rows[0], rows[1:]
    values = [number(field) for field in first]
    words = [i for i, value in enumerate(values) if value is None]
    if len(words) == len(first):
        return len(first) > 1 or not rest or number(rest[0][0]) is not None, ""
    numbers = [value for value in values if value is not None]
    counts = len(numbers) >= FEWEST_NAMES and numbers in (
        [float(i + start) for i in range(len(numbers))] for start in (0, 1)
    )
    if words:
        # Names stand above numbers; a column of words, such as labels, says nothing.
        above = [i for i in words if all(i < len(row) and number(row[i]) is not None for row in rest)]
        known = any(first[i].lower() in LABELS for i in words)
        return bool(rest) and (known or (bool(above) and (counts or len(numbers) <= 1))), ""
    if counts and rest:
        second = [number(field) for field in rest[0]]
        counts = None in second or second != [second[0] + i for i in range(len(second))]
        return counts, "line 1, which counts, is a header (header=no: an example)" if counts else ""
    if rest and _is_mangled(first):
        return True, MANGLED
    return False, ""


def _is_mangled(fields: Row) -> bool:
    """Whether repeated numbers are written 0, 0.1, 0.2 as pandas writes repeated names."""
    seen: Counter[str] = Counter()
    renamed = 0
    for field in fields:
        name, _, count = field.partition(".")
        if seen[name] == 0 and count:
            return False
        if seen[name] and count != str(seen[name]):
            return False
        renamed += seen[name] > 0
        seen[name] += 1
    return renamed >= FEWEST_NAMES


def _commented_header(text: bytes, line: int, separator: str, columns: int) -> tuple[str, ...] | None:
    """The names in the comment above the first row, as `numpy.savetxt` writes a header; None without one."""
    before = text.split(b"\n", line - 1)[line - 2] if line > 1 else b""
    if not before.lstrip().startswith(b"#"):
        return None
    names = split([decode(before).lstrip("# ")], separator)
    return tuple(names[0]) if names and len(names[0]) == columns else None


def column_of(what: str | int, names: tuple[str, ...] | None, columns: int, option: str) -> int:
    """The position, from 0, of the column that an option names: its name, first, last, or its number from 1.

    Raises DataError where there is none.
    """
    text = str(what)
    if names is not None:
        same = [i for i, name in enumerate(names) if name == text]
        same = same or [i for i, name in enumerate(names) if name.lower() == text.lower()]
        if len(same) == 1:
            return same[0]
        if len(same) > 1:
            raise DataError(f"{option}={what}: expected the name of one column, got that of {len(same)}")
    if text in ("first", "last"):
        return 0 if text == "first" else columns - 1
    if re.fullmatch(r"-?\d+", text) and (1 <= int(text) <= columns or -columns <= int(text) <= -1):
        return int(text) - (int(text) > 0) if int(text) > 0 else columns + int(text)
    if re.fullmatch(r"-?\d+", text):
        raise DataError(f"{option}={what}: expected a column from 1 to {columns}, got {what}")
    if names is None:
        raise DataError(f"{option}={what}: expected first, last or a number: the file has no header")
    shown = ", ".join(names[:6]) + (", …" if len(names) > 6 else "")
    raise DataError(f"{option}={what}: expected a name in the header, {shown}, first, last or a number")

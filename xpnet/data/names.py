"""Names of data sets that are files: `csv:train.csv,test.csv,label=last`.

After the kind and a colon, commas separate files and options. An option is `name=value`, see `OPTIONS`.
Double quotes keep commas: `csv:"my, own.csv"`.
"""

import os
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from xpnet._util.text import did_you_mean
from xpnet.data.csv_layout import SEPARATORS
from xpnet.errors import DataError


class Named(NamedTuple):
    """What a name says: the files and the options."""

    files: tuple[str, ...]
    options: dict[str, Any]


def parse(name: str, form: str, options: Sequence[str], given: Mapping[str, Any]) -> Named:
    """The files and options of a name without its kind.

    Arguments:
        form: what is expected, for errors.
        options: the names of `OPTIONS` that the kind of data set takes.
        given: further options, as Python values.

    Raises DataError where there are no files, or an option is unknown or has a wrong value.
    """
    files, found = [], dict(given)
    for part in _parts(name):
        option, equals, value = part.partition("=")
        option = option.strip()
        if not equals or (option not in OPTIONS and os.path.exists(part)):
            files.append(part)
        elif option == "skip":
            found["skip"] = (*found.get("skip", ()), value)
        elif option in found and found[option] != value:
            raise DataError(f"{option}: expected one value, got {found[option]} and {value}")
        else:
            found[option] = value
    if not files or not all(files):
        raise DataError(f"expected {form}, got {name!r}")
    for option in found:
        if option not in options:
            raise DataError(
                f"no option is called {option!r} in {name!r}: expected {', '.join(options)} after the files"
                f"{did_you_mean(option, options)}"
            )
    return Named(tuple(files), {option: OPTIONS[option](value) for option, value in found.items()})


def _parts(name: str) -> list[str]:
    """What stands between commas; double quotes at the beginning of a part or a value keep commas."""
    parts = re.findall(r'((?:[^,="]*=)?"[^"]*"|[^,]*)(?:,|$)', name)
    parts = parts[:-1] if parts and parts[-1] == "" and not name.endswith(",") else parts
    return [part.replace('"', "") if part.endswith('"') else part for part in parts]


def label(value: Any) -> str:
    """The label column: a name, first, last, or a number from 1."""
    return _text("label", value, "a name, first, last or a number from 1")


def skip(value: Any) -> tuple[str, ...]:
    """The columns to leave out: names or numbers from 1."""
    values = value if isinstance(value, list | tuple) else (value,)
    return tuple(_text("skip", each, "names or numbers of columns") for each in values)


def scale(value: Any) -> str:
    """255, 16 or another number, none or standardize."""
    return _text("scale", value, "a number, none or standardize")


def shape(value: Any) -> tuple[tuple[int, ...], bool]:
    """The shape of an image, (height, width, channels), and whether its channels come one after the other.

    "28x28", "28x28x1", "32x32x3"; "3x32x32": one channel after the other.
    """
    text = "x".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    sizes = [int(size) if size.isdigit() else 0 for size in re.split("[x×*]", text.lower())]
    if len(sizes) not in (2, 3) or not all(sizes):
        raise DataError(f"shape: expected HEIGHTxWIDTH or HEIGHTxWIDTHxCHANNELS, such as 28x28, got {text}")
    if len(sizes) == 2:
        return (*sizes, 1), False
    if sizes[0] in (1, 3, 4) and sizes[2] not in (1, 3, 4):
        return (*sizes[1:], sizes[0]), True
    return tuple(sizes), False


def header(value: Any) -> bool:
    """Whether the first line is a header: yes or no."""
    known = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}
    if str(value).lower() not in known:
        raise DataError(f"header: expected yes or no, got {value}")
    return known[str(value).lower()]


def separator(value: Any) -> str:
    """The separator of fields: itself or its word."""
    found = SEPARATORS.get(str(value).lower(), str(value))
    if found not in SEPARATORS.values():
        raise DataError(f"separator: expected {', '.join(SEPARATORS)}, got {value!r}")
    return found


def test(value: Any) -> float:
    """The share of test examples of a data set without a test file."""
    try:
        share = float(value)
    except (TypeError, ValueError):
        share = 0.0
    if not 0 < share < 1:
        raise DataError(f"test: expected a share above 0 and below 1, got {value}")
    return share


def _text(option: str, value: Any, expected: str) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float) or value == "":
        raise DataError(f"{option}: expected {expected}, got {value!r}")
    return str(value)


OPTIONS: dict[str, Callable[[Any], Any]] = {
    "label": label,
    "skip": skip,
    "scale": scale,
    "shape": shape,
    "header": header,
    "separator": separator,
    "test": test,
}

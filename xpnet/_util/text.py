"""Objects as text."""

from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any


def constructor_call(thing: Any) -> str:
    """The constructor call that makes a dataclass object, without arguments that equal their default.

    For an object of another class, the call without arguments.
    """
    arguments = []
    own: tuple[Field[Any], ...] = fields(thing) if is_dataclass(thing) else ()
    for field in own:
        value = getattr(thing, field.name)
        if field.default is MISSING:
            arguments.append(repr(value))
        elif value != field.default and field.repr:
            arguments.append(f"{field.name}={value!r}")
    return f"{type(thing).__name__}({', '.join(arguments)})"


def short(text: str, length: int = 80) -> str:
    """The text in one line, cut off with … if it is longer than this length."""
    line = " ".join(text.split())
    return line if len(line) <= length else f"{line[: length - 1]}…"

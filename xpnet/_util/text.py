"""Objects as text."""

import ast
import inspect
import sys
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any


def some(count: int, noun: str) -> str:
    """`3 seeds`, but `1 seed`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def docstring(thing: Any) -> str:
    """The docstring of a module or class, or "". Under `python -OO`, which drops it, read from the source."""
    if sys.flags.optimize < 2:
        return thing.__doc__ or ""
    try:
        tree = ast.parse(inspect.getsource(thing))
        return ast.get_docstring(tree if inspect.ismodule(thing) else tree.body[0]) or ""  # type: ignore[arg-type]
    except (OSError, TypeError, SyntaxError):  # without its source
        return ""


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

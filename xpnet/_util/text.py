"""Objects as text, and words that are nearly a name."""

import ast
import difflib
import inspect
import re
import sys
from collections.abc import Iterable
from dataclasses import MISSING, Field, fields, is_dataclass
from pathlib import Path
from typing import Any


def some(count: int, noun: str) -> str:
    """`3 seeds`, but `1 seed`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def docstring(thing: Any) -> str:
    """The docstring of a module, class or function, or "". `python -OO` drops it: then from its source."""
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


def shortened(text: str, length: int = 80) -> str:
    """The text in one line, cut off with … if it is longer than this length."""
    line = " ".join(text.split())
    return line if len(line) <= length else f"{line[: length - 1]}…"


def short(value: Any) -> str:
    """The `repr` of a value, cut at 60 characters."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def did_you_mean(word: str, names: Iterable[str]) -> str:
    """`; did you mean relu?`, or an empty string where no name is similar to the word."""
    found = similar(word, names)
    return f"; did you mean {' or '.join(found)}?" if found else ""


def similar(word: str, names: Iterable[str]) -> list[str]:
    """The names, three at most, that a person may mean by a word.

    In this order: the same letters and digits, initials (`lr`), the same beginning, the same end
    (`num-epochs`), and a few wrong letters.
    """
    plain = {name: _plain(name) for name in names}
    asked = _plain(word)
    if len(asked) < 2:
        return []
    for rule in (
        lambda name: plain[name] == asked,
        lambda name: _initials(name) == asked,
        lambda name: _begins(plain[name], asked) or _begins(asked, plain[name]),
        lambda name: len(plain[name]) > 3 and asked.endswith(plain[name]),
    ):
        if found := list(filter(rule, plain)):
            return found[:3]
    close = difflib.get_close_matches(asked, plain.values(), 1)
    return [name for name in plain if plain[name] in close][:1]


def _plain(word: str) -> str:
    return re.sub(r"[\W_]", "", word.casefold())


def _initials(name: str) -> str:
    return "".join(part[0] for part in re.split(r"[\W_]+", name.casefold()) if part)


def _begins(word: str, start: str) -> bool:
    return len(start) > 2 and word.startswith(start)


def example_call(cls: type) -> str:
    """How to make an object of the class; with … for arguments that it needs."""
    try:
        parameters = inspect.signature(cls).parameters.values()
    except (TypeError, ValueError):
        return f"{cls.__name__}(…)"
    needs = any(
        each.default is each.empty and each.kind in (each.POSITIONAL_OR_KEYWORD, each.VAR_POSITIONAL)
        for each in parameters
    )
    return f"{cls.__name__}({'…' if needs else ''})"


def program(name: str) -> str:
    """What the user types for a program: `xpnet search` if xpnet was called so, else its script."""
    called = Path(sys.argv[0])
    if called.stem == "xpnet":
        return f"xpnet {name}"
    if (called.parent.name, called.name) == ("xpnet", "__main__.py"):
        return f"python -m xpnet {name}"
    return f"python scripts/{name}.py"

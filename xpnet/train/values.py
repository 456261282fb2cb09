"""Values of options as text. The type of the option decides how its text is read, not the look of the text:
the same on the command line and in YAML files, where YAML 1.1 takes `1e-3` for a string and `010` for 8."""

import re
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin

Found = str | list[str] | None  # a text, the texts of a list, or null

BOOLS = {
    **dict.fromkeys(("true", "yes", "on", "1"), True),
    **dict.fromkeys(("false", "no", "off", "0"), False),
}
SPECIAL_FLOATS = {".nan": "nan", ".inf": "inf", "+.inf": "inf", "-.inf": "-inf"}  # as YAML writes them


def convert(found: Found, annotation: Any) -> Any:
    """The value of that type: `convert("1e-3", float)`, `convert("64, 32", tuple[int, ...])`.

    Types: bool, int, float, str, a tuple of one of these, and any of these or None. ValueError for another
    text.
    """
    arguments = get_args(annotation)
    if get_origin(annotation) in (Union, UnionType):
        if NoneType in arguments and found in (None, "null", "None"):
            return None
        (annotation,) = (each for each in arguments if each is not NoneType)
        return convert(found, annotation)
    if get_origin(annotation) is tuple:
        return tuple(convert(each, arguments[0]) for each in _items(found))
    if not isinstance(found, str):
        raise ValueError
    if annotation is bool:
        if found.lower() not in BOOLS:
            raise ValueError
        return BOOLS[found.lower()]
    if annotation is float:
        return float(SPECIAL_FLOATS.get(found.lower(), found))
    return annotation(found)


def _items(found: Found) -> list[str]:
    """The texts of a list, also of one written as `64 32`, `64,32` or `[64, 32]`."""
    if found is None:
        raise ValueError
    text = " ".join([found] if isinstance(found, str) else found).strip()
    if bracketed := re.fullmatch(r"\[(.*)\]|\((.*)\)", text):
        text = bracketed[1] or bracketed[2] or ""
    text = text.strip().removesuffix(",")
    return re.split(r"\s*,\s*|\s+", text) if text else []


def described(annotation: Any) -> str:
    """The type in words, for messages: `true or false`, `int`, `str or null`, `int numbers such as 64 32`."""
    arguments = get_args(annotation)
    if get_origin(annotation) in (Union, UnionType):
        return " or ".join("null" if each is NoneType else described(each) for each in arguments)
    if get_origin(annotation) is tuple:
        return "integers such as 64 32, or []"
    return "true or false" if annotation is bool else annotation.__name__


def shown(found: Found) -> str:
    """What was given, for messages."""
    text = " ".join(found) if isinstance(found, list) else found
    if text is None:
        return "nothing"
    if not text.strip():
        return repr(text)
    return text if len(text) <= 60 else f"{text[:57]}…"

"""Checks of options. Their errors name the thing, what was expected and what came."""

import math
from numbers import Integral
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

import numpy as np

from xpnet.errors import ConfigError


def require_integer(thing: Any, name: str, value: Any, least: int = 1) -> None:
    """ConfigError unless the value is an integer of at least `least`."""
    if not isinstance(value, Integral) or isinstance(value, bool) or value < least:
        raise ConfigError(f"{thing}: expected {name} to be an integer of at least {least}, got {value!r}")


def require_flag(thing: Any, name: str, value: Any) -> None:
    """ConfigError unless the value is True or False, of Python or NumPy."""
    if not isinstance(value, bool | np.bool_):
        raise ConfigError(f"{thing}: expected {name} to be True or False, got {value!r}")


def is_number(value: Any) -> bool:
    """Whether a value is a finite Python number."""
    try:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # an int that no float can hold
        return False


def has_type(value: Any, annotation: Any) -> bool:
    """Whether a value has a type: bool, int, float, str, None, or a `Literal`, tuple or union of these.

    An int counts as a float; a bool counts as neither.
    """
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return isinstance(value, str) and value in arguments
    if origin is tuple:
        return isinstance(value, tuple) and all(has_type(each, arguments[0]) for each in value)
    if origin in (Union, UnionType):
        return any(has_type(value, each) for each in arguments)
    if annotation in (None, type(None)):
        return value is None
    if annotation is float:
        return isinstance(value, float) or has_type(value, int)
    return isinstance(value, annotation) and (annotation is bool or not isinstance(value, bool))

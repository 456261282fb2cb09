"""Checks of options. Their errors name the thing, what was expected and what came."""

import math
from collections.abc import Iterable
from numbers import Integral
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

import numpy as np

from xpnet.errors import ConfigError


def python_number(value: Any) -> Any:
    """A NumPy scalar or 0-d NumPy array as Python's number; anything else unchanged.

    NumPy's float64 is a subclass of float, and would turn float32 arrays into float64.
    """
    if not isinstance(value, np.generic | np.ndarray) or value.ndim != 0 or value.dtype.kind not in "biuf":
        return value
    return float(value) if value.dtype.kind == "f" else value.item()


def settled(thing: Any, name: str, arrays: bool = False) -> Any:
    """The hyper-parameter `name`. A NumPy number, also in a tuple, is replaced by Python's number.

    With `arrays`, a 0-d float32 array stays: a training step passes the learning rate as one. One of float64
    would turn float32 parameters into float64.
    """
    value = getattr(thing, name)
    if arrays and isinstance(value, np.ndarray) and (value.dtype == np.float32 or not is_number(value)):
        return value
    plain = tuple(map(python_number, value)) if isinstance(value, tuple) else python_number(value)
    if plain is not value:
        object.__setattr__(thing, name, plain)
    return plain


def require_integer(thing: Any, name: str, value: Any, least: int = 1) -> int:
    """The value as Python's integer. ConfigError unless it is an integer of at least `least`."""
    value = python_number(value)
    if not isinstance(value, Integral) or isinstance(value, bool) or value < least:
        raise ConfigError(f"{thing}: expected {name} to be an integer of at least {least}, got {value!r}")
    return int(value)


def require_flag(thing: Any, name: str, value: Any) -> None:
    """ConfigError unless the value is True or False, of Python or NumPy."""
    if not isinstance(value, bool | np.bool_):
        raise ConfigError(f"{thing}: expected {name} to be True or False, got {value!r}")


def one_network(thing: Any) -> str:
    """The way out where an `Ensemble` came in place of a `Model`; empty for anything else."""
    return "; pass one network: ensemble[k] or ensemble.best()" if hasattr(thing, "callbacks_of") else ""


def require_shape(thing: Any, shape: Any) -> tuple[int, ...]:
    """The shape as a tuple. ConfigError unless it is the shape of one example: integers of at least 1."""
    lengths = tuple(map(python_number, shape)) if isinstance(shape, Iterable) else ()
    whole = all(isinstance(each, int) and not isinstance(each, bool) and each >= 1 for each in lengths)
    if not whole or not isinstance(shape, Iterable):
        way_out = f"; write ({shape},)" if isinstance(shape, Integral) else ""
        raise ConfigError(
            f"{thing}: expected input_shape to be the shape of one example, such as (28, 28, 1), "
            f"got {shape!r}{way_out}"
        )
    return lengths


def is_number(value: Any) -> bool:
    """Whether a value is a finite number, Python's or NumPy's, and no bool."""
    value = python_number(value)
    try:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # an int that no float can hold
        return False


def is_in_range(value: Any, below: float = math.inf, zero: bool = True) -> bool:
    """Whether a hyper-parameter is a finite number, 0 <= number < below, or an array of such numbers.

    With zero=False, 0 is out of range too. An array that is not NumPy's may be on a device, or be traced: its
    values are not read. A 0-d array may be infinite or NaN: a step where a schedule makes it so diverges.
    """
    if isinstance(value, np.ndarray) and value.dtype.kind in "iuf":
        if value.ndim > 0:
            return all(is_in_range(each, below, zero) for each in value.ravel().tolist())
        value = value.item()
        if not math.isfinite(value):
            return not value < 0
    if hasattr(value, "ndim"):
        return not isinstance(value, np.ndarray)
    return is_number(value) and value < below and (value >= 0 if zero else value > 0)


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

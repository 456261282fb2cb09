"""What all subjects of the laws have in common: they are frozen dataclasses; and where they are tried."""

import copy
import dataclasses
import typing
from collections.abc import Sequence
from typing import Any

import numpy as np

from xpnet import backend as backends
from xpnet.backend import Backend
from xpnet.errors import ConfigError
from xpnet.testing.report import LawError, Make

Where = str | Backend | type[Backend]


def numpy(dtype: str) -> Backend:
    """The backend on which laws that concern no library are tried."""
    return backends.get("numpy", dtype=dtype)


def places(chosen: Sequence[Where] | None) -> list[tuple[str, Make]]:
    """For each chosen backend, or each that can be used here, its name and what makes it in a dtype.

    A backend is told by its name, its class, or by one of it, on whose device all are made.
    """
    if chosen is None:
        chosen = [name for name, reason in backends.available().items() if reason is None]
    if isinstance(chosen, str | Backend | type):
        chosen = [chosen]
    return [_place(where) for where in chosen]


def _place(where: Where) -> tuple[str, Make]:
    if isinstance(where, str):
        backends.get(where)  # BackendError now, in one line, where it is not there
        return where, lambda dtype: backends.get(where, dtype=dtype)
    if isinstance(where, Backend):
        return where.name, lambda dtype: _in_dtype(where, dtype)
    if isinstance(where, type) and issubclass(where, Backend):
        return where.name, lambda dtype: where(None, dtype)
    raise ConfigError(f"expected a backend, its class or its name, got {where!r}")


def _in_dtype(made: Backend, dtype: str) -> Backend:
    """The same backend on the same device, for another dtype."""
    if dtype == made.dtype_name:
        return made
    other = copy.copy(made)
    other.dtype_name, other.itemsize = dtype, np.dtype(dtype).itemsize
    other.xp = other.find_namespace()
    other.dtype = getattr(other.xp, dtype)
    return other


def show(subject: Any) -> str:
    """Its repr in one line; its class's name where that is no dataclass, whose repr may fail."""
    return " ".join(repr(subject).split()) if dataclasses.is_dataclass(subject) else type(subject).__name__


def require_instance(function: str, value: Any, cls: type) -> None:
    """ConfigError unless the value is an object of that class."""
    kind = cls.__name__.lower()
    if isinstance(value, type):
        raise ConfigError(
            f"{function}: expected a {kind}, got the class {value.__name__}; write {value.__name__}(…)"
        )
    if not isinstance(value, cls):
        raise ConfigError(
            f"{function}: expected a {kind}, derived from "
            f"{cls.__module__.rpartition('.')[0]}.{cls.__name__}, got {value!r}"
        )


def is_a_frozen_dataclass(subject: Any) -> None:
    """LawError unless all that a layer, loss or optimizer holds are the fields of a frozen dataclass."""
    cls = type(subject)
    name = cls.__name__
    way_out = f"write @dataclass(frozen=True, repr=False) above class {name}"
    if not dataclasses.is_dataclass(subject):
        raise LawError(f"{name} is no dataclass; {way_out}")
    if not cls.__dataclass_params__.frozen:
        raise LawError(f"{name} can be changed; {way_out}")
    names = {field.name for field in dataclasses.fields(subject)}
    own = {key for key, hint in vars(cls).get("__annotations__", {}).items() if not _is_class_variable(hint)}
    if own - names:
        raise LawError(f"{name}: {_first(own - names)} is no field; {way_out}")
    hidden = vars(subject).keys() - names
    if hidden:
        raise LawError(
            f"{name}: self.{_first(hidden)} is no field, so that repr and == do not know it; "
            f"write `{_first(hidden)}: …` in the class body, or a property"
        )


def repr_tells_every_field(subject: Any) -> None:
    """LawError unless repr has the value of each field that has not its default value, and == knows it.

    (A field that says `repr=False`, as those for initialisers do, is left out on purpose.)
    """
    text = repr(subject)
    for field in dataclasses.fields(subject):
        value = getattr(subject, field.name)
        if not field.repr or hasattr(value, "ndim"):
            continue
        if field.default is dataclasses.MISSING or value != field.default:
            parts = value if isinstance(value, tuple) else (value,)
            if not all(repr(part) in text for part in parts):
                raise LawError(
                    f"{text} does not tell {field.name}={value!r}; "
                    "leave __repr__ out, or have it show all fields"
                )


def _is_class_variable(hint: Any) -> bool:
    return typing.get_origin(hint) is typing.ClassVar or (isinstance(hint, str) and "ClassVar" in hint)


def _first(names: Any) -> str:
    return str(min(names))


def draw(shape: Sequence[int], seed: int = 0) -> np.ndarray:
    """Numbers of both signs, none of them near 0, where ReLU has its kink."""
    rng = np.random.default_rng(seed)
    shape = tuple(shape)
    return rng.choice([-1.0, 1.0], shape) * rng.uniform(0.1, 1.5, shape)


def as_host(function: str, name: str, x: Any) -> np.ndarray:
    """A shape as random numbers of that shape; any library's array as a float64 or int64 NumPy array."""
    if isinstance(x, tuple) and all(isinstance(length, int) for length in x):
        return draw(x)
    for place in backends.BACKENDS:  # the library of an array is imported already
        cls = backends.BACKENDS[place]
        if not isinstance(x, np.ndarray) and type(x).__module__.partition(".")[0] == cls.module:
            x = backends.get(place).to_numpy(x)
    host = np.asarray(x)
    if host.dtype.kind not in "biuf":
        raise ConfigError(f"{function}: expected {name} to be a shape or an array of numbers, got {x!r}")
    return host.astype(np.float64 if host.dtype.kind == "f" else np.int64)

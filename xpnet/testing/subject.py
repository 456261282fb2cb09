"""Shared by all checks: backends to check on, frozen dataclasses, and arrays to draw."""

import copy
import dataclasses
import typing
from collections.abc import Sequence
from typing import Any

import numpy as np

from xpnet import backend as backends
from xpnet.backend import Backend
from xpnet.errors import ConfigError
from xpnet.testing.report import LawError, MakeBackend

BackendLike = str | Backend | type[Backend]


def numpy(dtype: str) -> Backend:
    """The NumPy backend, for laws with `on_host`."""
    return backends.get("numpy", dtype=dtype)


def places(chosen: Sequence[BackendLike] | None) -> list[tuple[str, MakeBackend]]:
    """Pairs (name, function from a dtype to the backend) for the chosen backends; None: all that work here.

    Choose a backend by its name, its class or an instance, whose device is then used.
    """
    if chosen is None:
        chosen = [name for name, reason in backends.available().items() if reason is None]
    if isinstance(chosen, str | Backend | type):
        chosen = [chosen]
    return [_place(backend) for backend in chosen]


def _place(backend: BackendLike) -> tuple[str, MakeBackend]:
    if isinstance(backend, str):
        backends.get(backend)  # raises BackendError now if it is missing
        return backend, lambda dtype: backends.get(backend, dtype=dtype)
    if isinstance(backend, Backend):
        return backend.name, lambda dtype: _in_dtype(backend, dtype)
    if isinstance(backend, type) and issubclass(backend, Backend):
        return backend.name, lambda dtype: backend(None, dtype)
    raise ConfigError(f"expected a backend, its class or its name, got {backend!r}")


def _in_dtype(made: Backend, dtype: str) -> Backend:
    """The same backend on the same device, for another dtype."""
    if dtype == made.dtype_name:
        return made
    other = copy.copy(made)
    other.dtype_name, other.itemsize = dtype, np.dtype(dtype).itemsize
    other.xp = other.find_namespace()
    other.dtype = getattr(other.xp, dtype)
    other.index_dtype = other.xp.arange(1).dtype  # JAX has int64 only once a float64 backend exists
    return other


def show(subject: Any) -> str:
    """The repr in one line. For an object that is not a dataclass, the class name: its repr may fail."""
    return " ".join(repr(subject).split()) if dataclasses.is_dataclass(subject) else type(subject).__name__


def require_instance(function: str, value: Any, cls: type) -> None:
    """ConfigError unless `value` is an instance of `cls`."""
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
    """LawError unless the subject is a frozen dataclass without attributes other than its fields."""
    cls = type(subject)
    name = cls.__name__
    way_out = f"write @dataclass(frozen=True, repr=False) above class {name}"
    if not dataclasses.is_dataclass(subject):
        raise LawError(f"{name} is not a dataclass; {way_out}")
    if not cls.__dataclass_params__.frozen:
        raise LawError(f"{name} is mutable; {way_out}")
    names = {field.name for field in dataclasses.fields(subject)}
    own = {key for key, hint in vars(cls).get("__annotations__", {}).items() if not _is_class_variable(hint)}
    if own - names:
        raise LawError(f"{name}: {_first(own - names)} is not a field; {way_out}")
    hidden = vars(subject).keys() - names
    if hidden:
        raise LawError(
            f"{name}: self.{_first(hidden)} is not a field, so repr and == ignore it; "
            f"write `{_first(hidden)}: …` in the class body, or a property"
        )


def repr_shows_every_field(subject: Any) -> None:
    """LawError unless repr shows the value of each field that differs from its default.

    Fields with `repr=False`, such as initialisers, are exempt.
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
                    f"{text} does not show {field.name}={value!r}; "
                    "leave __repr__ out, or let it show all fields"
                )


def _is_class_variable(hint: Any) -> bool:
    return typing.get_origin(hint) is typing.ClassVar or (isinstance(hint, str) and "ClassVar" in hint)


def _first(names: Any) -> str:
    return str(min(names))


def draw(shape: Sequence[int], seed: int = 0) -> np.ndarray:
    """Random numbers of both signs, none near 0, the kink of ReLU."""
    rng = np.random.default_rng(seed)
    shape = tuple(shape)
    return rng.choice([-1.0, 1.0], shape) * rng.uniform(0.1, 1.5, shape)


def as_host(function: str, name: str, x: Any, integers: range | None = None) -> np.ndarray:
    """Random numbers for a shape; for an array of any library, a float64 or int64 NumPy array.

    The numbers for a shape are of `integers` if it is given.
    """
    if isinstance(x, tuple) and all(isinstance(length, int) for length in x):
        return (
            draw(x)
            if integers is None
            else np.random.default_rng(0).integers(integers.start, integers.stop, x)
        )
    for place in backends.BACKENDS:  # an array's library is already imported
        cls = backends.BACKENDS[place]
        if not isinstance(x, np.ndarray) and type(x).__module__.partition(".")[0] == cls.module:
            x = backends.get(place).to_numpy(x)
    host = np.asarray(x)
    if host.dtype.kind not in "biuf":
        raise ConfigError(f"{function}: expected {name} to be a shape or an array of numbers, got {x!r}")
    return host.astype(np.float64 if host.dtype.kind == "f" else np.int64)

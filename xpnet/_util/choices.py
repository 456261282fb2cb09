"""Registries: the named values of an option, and the object that each one makes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Choice(Generic[T]):
    """One value of an option. A registry is a dict from names to choices; a new choice is a new row.

    Arguments:
        make: the class or function that makes the object.
        help: a short description for `--help`.
        options: a dict from the keyword arguments of `make` to the options that supply them; see `takes`.
    """

    make: Callable[..., T]
    help: str
    options: Mapping[str, str] = field(default_factory=dict)

    def build(self, config: Any) -> T:
        """Make the object from the options of `config`."""
        return self.make(**{argument: getattr(config, option) for argument, option in self.options.items()})


def takes(*options: str, **renamed: str) -> dict[str, str]:
    """The options of a choice: `takes("learning_rate", beta1="momentum")`.

    A plain name is the name of both the argument and the option. `beta1="momentum"` passes the option
    `momentum` as the argument `beta1`.
    """
    return {**dict(zip(options, options, strict=True)), **renamed}


def takers(registry: Mapping[str, Choice[Any]], option: str) -> dict[str, list[str]]:
    """The choices that take an option, by the argument that receives it: {"beta1": ["adam", "lion"]}."""
    found: dict[str, list[str]] = {}
    for name, choice in registry.items():
        for argument, each in choice.options.items():
            if each == option:
                found.setdefault(argument, []).append(name)
    return found

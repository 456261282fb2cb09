"""Registries: the values of an option by name, and what each of them makes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Choice(Generic[T]):
    """One value of an option. A registry is a dict from names to choices: a new choice is one row in it.

    Arguments:
        make: the class or function that makes the object.
        help: a few words for `--help`.
        options: the option behind each keyword argument of `make`, as `takes` writes them.
    """

    make: Callable[..., T]
    help: str
    options: Mapping[str, str] = field(default_factory=dict)

    def build(self, config: Any) -> T:
        """Make the object from the options of `config`."""
        return self.make(**{argument: getattr(config, option) for argument, option in self.options.items()})


def takes(*options: str, **renamed: str) -> dict[str, str]:
    """The options of a choice: `takes("learning_rate", beta1="momentum")`.

    A plain name is both the argument and the option; `beta1="momentum"` passes the option `momentum` as the
    argument `beta1`.
    """
    return {**dict(zip(options, options, strict=True)), **renamed}


def takers(registry: Mapping[str, Choice[Any]], option: str) -> dict[str, list[str]]:
    """The choices that take an option, by the argument they take it as: {"beta1": ["adam", "lion"]}."""
    found: dict[str, list[str]] = {}
    for name, choice in registry.items():
        for argument, each in choice.options.items():
            if each == option:
                found.setdefault(argument, []).append(name)
    return found

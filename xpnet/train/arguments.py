"""A parser of command lines whose errors are one line, with the option that was probably meant."""

import argparse
import re
import textwrap
from collections.abc import Sequence
from typing import Any, NoReturn

from xpnet._util.text import did_you_mean, short
from xpnet._util.version import __version__
from xpnet.errors import ConfigError
from xpnet.train.values import BOOLS, described, shown


class YesNo(argparse.Action):
    """`--bias`, `--no-bias`, `--bias false` or `--bias=0`: the text of a bool."""

    def __init__(self, option_strings: Sequence[str], dest: str, **more: Any) -> None:
        names = [*option_strings, *(f"--no-{name.removeprefix('--')}" for name in option_strings)]
        super().__init__(names, dest, nargs="?", **more)

    def __call__(self, parser: Any, found: Any, value: Any, name: str | None = None) -> None:
        no = str(name).startswith("--no-") and name != self.option_strings[0]
        if no and value is not None:
            raise ConfigError(f"{name}: expected no value, got {value}")
        text = "true" if value is None else value
        if text.lower() not in BOOLS:
            raise ConfigError(f"{name}: expected {described(bool)}, got {shown(text)}")
        setattr(found, self.dest, BOOLS[text.lower()] and not no)


class Formatter(argparse.RawDescriptionHelpFormatter):
    """Keeps the line breaks of descriptions and help texts."""

    def _split_lines(self, text: str, width: int) -> list[str]:
        lines = []
        for line in text.splitlines():
            indent = " " * (len(line) - len(line.lstrip()) + 2) if line.startswith(" ") else ""
            lines += textwrap.wrap(line, width, subsequent_indent=indent, break_on_hyphens=False)
        return lines

    def _format_action_invocation(self, action: argparse.Action) -> str:
        if isinstance(action, YesNo):
            return ", ".join(action.option_strings)
        return super()._format_action_invocation(action)


class Parser(argparse.ArgumentParser):
    """A parser with `--help` and `--version`. It gives only the options that the arguments name.

    Raises ConfigError for arguments that cannot be used. A shortened option is not guessed.
    """

    def __init__(self, prog: str, description: str | None = None, usage: str = "%(prog)s [options]") -> None:
        super().__init__(
            prog=prog,
            usage=usage,
            description=description,
            allow_abbrev=False,
            argument_default=argparse.SUPPRESS,
            formatter_class=Formatter,
        )
        self.add_argument("--version", action="version", version=f"xpnet {__version__}")

    def error(self, message: str) -> NoReturn:
        text = re.sub(r"^argument ([\w-]+)\S*: ", r"\1: ", " ".join(message.split()))
        raise ConfigError(text.replace("expected one argument", "expected a value, got none"))

    def options(self, arguments: Sequence[str]) -> dict[str, Any]:
        """The options that the arguments name, and their values. ConfigError where one does not exist."""
        for each in arguments:
            if re.match(r"-[a-zA-Z][a-zA-Z_-]", each):  # argparse takes -hidden for -h and the value "idden"
                raise self.unknown(each)
        found, rest = self.parse_known_args(list(arguments))
        rest = [each for each in rest if each != "--"]  # kept by some versions of Python
        if rest:
            raise self.unknown(next((each for each in rest if each.startswith("--")), rest[0]))
        return vars(found)

    def option_names(self) -> set[str]:
        """`--help` and the like."""
        return {name for action in self._actions for name in action.option_strings}

    def unknown(self, argument: str) -> ConfigError:
        """The error for an argument that no option takes."""
        names = sorted(self.option_names())
        word = argument.partition("=")[0]
        what = (
            f"no option is called {short(word)}"
            if word.startswith("-")
            else f"unexpected argument {short(argument)}"
        )
        like = did_you_mean(word, names) if word.startswith("-") or "=" in argument else ""
        return ConfigError(what + (like or "; see --help"))

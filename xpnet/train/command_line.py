"""The command line and the YAML files of a training run: both give a `Config`."""

import difflib
import itertools
import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import docstring_parser
import jsonargparse

from xpnet._util.choices import Choice, takers
from xpnet.data import datasets
from xpnet.errors import ConfigError
from xpnet.train.config import CONFIG_FILE, Config, choices_of, option_name

CHANGEABLE_ON_RESUME = (
    "epochs", "checkpoint_every", "data_dir", "download", "backend", "device", "quiet",
)  # fmt: skip
SHARED = ("epochs",)  # options that some choices take, but that mean the same for all runs


def parse(arguments: Sequence[str], prog: str) -> tuple[Config, Path | None]:
    """The config that command-line arguments and the YAML files they name describe.

    With `--resume RUN_DIR` it is the config of that run, and the folder is returned with it.

    Raises ConfigError, in one line, for an option that does not exist, a value of the wrong type, or an
    option that differs from the resumed run's and cannot change.
    """
    parser = make_parser(prog)
    given = _values(parser, arguments, defaults=False)
    resume = given.pop("resume", None)
    if resume is None:
        options = _values(parser, arguments)
        del options["resume"]
        return Config(**options), None
    folder = Path(resume)
    path = folder / CONFIG_FILE
    if not path.is_file():
        raise ConfigError(f"--resume: expected the folder of a run, got {folder}, without a {CONFIG_FILE}")
    options = _values(parser, ["--config", str(path)])
    del options["resume"]
    return change_on_resume(Config(**options), given), folder


def change_on_resume(config: Config, given: dict[str, Any]) -> Config:
    """The config of a resumed run, with the options given now.

    Raises ConfigError for an option that differs from the run's and cannot change.
    """
    for name, value in given.items():
        own = getattr(config, name)
        if name not in CHANGEABLE_ON_RESUME and value != own:
            raise ConfigError(f"{option_name(name)}: expected the run's own {own} with --resume, got {value}")
    if given.get("backend", config.backend) != config.backend:
        given = {"device": None, **given}  # the run's device belongs to its own library
    return replace(config, **given)


def make_parser(prog: str) -> jsonargparse.ArgumentParser:
    """A parser with `--config`, `--resume` and an option for each field of `Config`."""
    parser = jsonargparse.ArgumentParser(
        prog=prog,
        description="Train a network and write a folder with its metrics, parameters and pictures.",
        exit_on_error=False,
        allow_abbrev=False,
        formatter_class=_Formatter,
    )
    parser.add_argument("--config", action="config", help="YAML file of options; later options override it")
    changeable = ", ".join(map(option_name, CHANGEABLE_ON_RESUME))
    parser.add_argument(
        "--resume",
        metavar="RUN_DIR",
        help=f"resume the run in that folder with its own options; only these may change: {changeable}",
    )
    helps = option_helps()
    for option in fields(Config):
        kind: dict[str, Any] = {"type": option.type, "default": option.default}
        if option.type is bool:
            yes_no = jsonargparse.ActionYesNo(yes_prefix="", no_prefix="no-")
            kind = {"action": yes_no, "default": option.default}
        elif isinstance(option.default, tuple):
            kind = {"type": int, "nargs": "*", "default": list(option.default)}
        parser.add_argument(option_name(option.name), help=helps[option.name], **kind)
    return parser


def option_helps() -> dict[str, str]:
    """The help of each option: its line in the docstring of `Config`, with the choices of the registries."""
    described = docstring_parser.parse(Config.__doc__ or "").params
    helps = {param.arg_name: " ".join((param.description or "").split()) for param in described}
    registries: dict[str, Mapping[str, Choice[Any]]] = {}
    for option in fields(Config):
        name, choices = option.name, choices_of(option)
        listed = [other for other, registry in registries.items() if registry is choices]
        if listed:
            helps[name] += f"; the choices of {option_name(listed[0])}"
        elif isinstance(choices, Mapping) and all(isinstance(each, Choice) for each in choices.values()):
            registries[name] = choices
            helps[name] = _listed(helps[name], choices)
        elif choices:
            helps[name] += f": {', '.join(choices)}"
    helps["dataset"] = _listed(helps["dataset"], datasets.choices())
    return {name: text + _taken_by(name, registries.values()) for name, text in helps.items()}


def _taken_by(option: str, registries: Iterable[Mapping[str, Choice[Any]]]) -> str:
    """The choices that take an option, if others do not: `; for sgd, as beta1 for adam and lion`."""
    if option in SHARED:
        return ""
    for registry in registries:
        found = takers(registry, option)
        if 0 < sum(map(len, found.values())) < len(registry):
            parts = [
                f"{'' if argument == option else f'as {argument} '}for {_and(names)}"
                for argument, names in found.items()
            ]
            return f"; {', '.join(parts)}"
    return ""


def _and(names: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def _listed(text: str, registry: Mapping[str, Choice[Any]]) -> str:
    """A help text with a line for each choice, under the type and default."""
    width = max(map(len, registry))
    lines = [f"  {name:{width}}  {choice.help}" for name, choice in registry.items()]
    return "\n".join([f"{text} (type: %(type)s, default: %(default)s)", *lines])


class _Formatter(jsonargparse.DefaultHelpFormatter):
    """Keeps the line breaks of help texts."""

    def _split_lines(self, text: str, width: int) -> list[str]:
        lines = []
        for line in text.splitlines():
            indent = " " * (len(line) - len(line.lstrip()) + 2) if line.startswith(" ") else ""
            lines += textwrap.wrap(line, width, subsequent_indent=indent, break_on_hyphens=False)
        return lines


def _values(
    parser: jsonargparse.ArgumentParser, arguments: Sequence[str], defaults: bool = True
) -> dict[str, Any]:
    """The options that arguments name, or all options. ConfigError for one that cannot be read."""
    try:
        found = parser.parse_args(list(arguments), defaults=defaults).as_dict()
    except (jsonargparse.ArgumentError, UnicodeError) as error:
        raise ConfigError(f"{_file_at_fault(parser, arguments)}{_reason(error)}") from error
    found.pop("config", None)
    return {name: tuple(value) if isinstance(value, list) else value for name, value in found.items()}


def _file_at_fault(parser: jsonargparse.ArgumentParser, arguments: Sequence[str]) -> str:
    """The first YAML file of the arguments that cannot be read, and a colon; empty where all can."""
    named = [after for argument, after in itertools.pairwise(arguments) if argument == "--config"]
    named += [argument.partition("=")[2] for argument in arguments if argument.startswith("--config=")]
    for path in filter(lambda path: Path(path).is_file(), named):
        try:
            parser.parse_args(["--config", path])
        except (jsonargparse.ArgumentError, UnicodeError):
            return f"{path}: "
    return ""


def _reason(error: Exception) -> str:
    """The parser's message on one line, in the words of the other errors, with a similar option's name."""
    text = " ".join(str(error).split()).replace(' in "<unicode string>",', " at")
    text = re.sub(r'^Parser key "(\w+)"', lambda match: option_name(match[1]), text)
    text = re.sub(r"Expected an? <class '(\w+)'>\. Got value: ", r"expected \1, got ", text)
    if text.startswith("Unexpected config:"):
        return f"expected lines of the form `option: value`{text.removeprefix('Unexpected config:')}"
    unknown = re.match(r"Option '(\w+)' is not accepted|unrecognized arguments: --(?:no-)?([\w-]+)", text)
    if unknown:
        name = (unknown[1] or unknown[2]).replace("-", "_")
        close = difflib.get_close_matches(name, [option.name for option in fields(Config)], 1)
        text += (
            f"; did you mean {close[0] if unknown[1] else option_name(close[0])}?"
            if close
            else "; see --help"
        )
    return text

"""The command line and the YAML files of a training run: both give a `Config`."""

import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import Field, asdict, fields, replace
from pathlib import Path
from typing import Any

import docstring_parser
import yaml

from xpnet._util.choices import Choice, takers
from xpnet._util.output import deliver
from xpnet._util.text import did_you_mean, docstring, similar
from xpnet.data import datasets
from xpnet.errors import ConfigError
from xpnet.train import yaml_file
from xpnet.train.arguments import Parser, YesNo
from xpnet.train.config import CONFIG_FILE, Config, choices_of, kind_of, option_name
from xpnet.train.folder import user_path
from xpnet.train.values import Found, convert, described, shown

CHANGEABLE_ON_RESUME = (
    "epochs", "checkpoint_every", "data_dir", "download", "backend", "device", "quiet",
)  # fmt: skip
SHARED = ("epochs",)  # options that some choices take, but that mean the same for all runs
DESCRIPTION = "Train a network and write a folder with its metrics, parameters and pictures."


def parse(arguments: Sequence[str], prog: str, description: str = DESCRIPTION) -> tuple[Config, Path | None]:
    """The config that command-line arguments and the YAML files they name describe.

    Options on the command line win over those in files, wherever they stand, and later files over earlier
    ones. With `--resume RUN_DIR` it is the config of that run, and the folder is returned with it.
    `--print_config` prints the config as YAML and ends the program.

    Raises ConfigError, in one line, for an option that does not exist, a value of the wrong type, or an
    option that differs from the resumed run's and cannot change. If a file is at fault, the line names it.
    """
    found = make_parser(prog, description).options(arguments)
    resume, files = found.pop("resume", None), found.pop("config", [])
    show = found.pop("print_config", False)
    given, places = _from_files(files)
    for name, value in found.items():
        given[name] = _value(_FIELDS[name], value, option_name(name))
        places.pop(name, None)
    folder = None
    if resume is None:
        config = _made(given, places)
    else:
        folder = user_path("--resume", resume)
        path = folder / CONFIG_FILE
        if not path.is_file():
            raise ConfigError(
                f"--resume: expected the folder of a run, got {folder}, without a {CONFIG_FILE}"
            )
        config = change_on_resume(read(path), given)
    if show:
        deliver(yaml.safe_dump(asdict(config), sort_keys=False))
        raise SystemExit(0)
    return config, folder


def read(path: Path) -> Config:
    """The config that a YAML file describes. ConfigError, with its file and line, for a wrong option."""
    return _made(*_from_files([path]))


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


def make_parser(prog: str, description: str = DESCRIPTION) -> Parser:
    """A parser with `--config`, `--resume` and an option for each field of `Config`."""
    parser = Parser(prog, description)
    add = parser.add_argument
    add(
        "--config",
        metavar="FILE",
        action="append",
        help="YAML file of options, or the name of one in scripts/configs; options on the command line "
        "override it, and later files earlier ones",
    )
    changeable = ", ".join(map(option_name, CHANGEABLE_ON_RESUME))
    add(
        "--resume",
        metavar="RUN_DIR",
        help=f"resume the run in that folder with its own options; only these may change: {changeable}",
    )
    add(
        "--print_config",
        "--print-config",
        action="store_true",
        help="print all options as a YAML file for --config, and do nothing else",
    )
    helps = option_helps()
    for option in fields(Config):
        more: dict[str, Any] = {}
        if option.type is bool:
            more = {"action": YesNo}
        elif isinstance(option.default, tuple):
            more = {"nargs": "*", "metavar": "N"}
        else:
            more = {"metavar": option.name.upper()}
        add(option_name(option.name), help=helps[option.name], **more)
    return parser


def option_helps() -> dict[str, str]:
    """The help of each option: its line in the docstring of `Config`, with the choices of the registries."""
    described = docstring_parser.parse(docstring(Config)).params
    helps = dict.fromkeys(_FIELDS, "")
    helps |= {param.arg_name: " ".join((param.description or "").split()) for param in described}
    registries: dict[str, Mapping[str, Choice[Any]]] = {}
    rows: dict[str, list[str]] = {"dataset": _rows(datasets.choices())}
    for option in fields(Config):
        name, choices = option.name, choices_of(option)
        listed = [other for other, registry in registries.items() if registry is choices]
        if listed:
            helps[name] += f"; the choices of {option_name(listed[0])}"
        elif isinstance(choices, Mapping) and all(isinstance(each, Choice) for each in choices.values()):
            registries[name] = choices
            rows[name] = _rows(choices)
        elif choices:
            helps[name] += f": {', '.join(choices)}"
    for option in fields(Config):
        name, default = option.name, _as_text(option.default)
        text = f"{helps[name]}{_taken_by(name, registries.values())}"
        first = f"{text} (type: {kind_of(option.type)}, default: {default})"
        helps[name] = "\n".join([first, *rows.get(name, [])]).replace("%", "%%")
    return helps


def _as_text(value: Any) -> str:
    """A value as it stands on the command line or in a file."""
    if isinstance(value, tuple):
        return " ".join(map(str, value)) or "[]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value)


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


def _rows(registry: Mapping[str, Choice[Any]]) -> list[str]:
    """A line for each choice."""
    width = max(map(len, registry))
    return [f"  {name:{width}}  {choice.help}" for name, choice in registry.items()]


_FIELDS = {option.name: option for option in fields(Config)}


def _from_files(paths: Iterable[str | Path]) -> tuple[dict[str, Any], dict[str, str]]:
    """The options of YAML files, and the file and line where each stands."""
    values: dict[str, Any] = {}
    places: dict[str, str] = {}
    for path in paths:
        for name, (found, line) in yaml_file.read(config_file(path)).items():
            place = f"{path}: line {line}"
            if name not in _FIELDS:
                like = did_you_mean(name, _FIELDS) or "; see --help"
                raise ConfigError(f"{place}: no option is called {name!r}{like}")
            values[name] = _value(_FIELDS[name], found, f"{place}: {option_name(name)}")
            places[name] = place
    return values, places


def config_file(path: str | Path) -> Path:
    """The file; for a name alone that is no file here, that of `configs/` beside the script: `cnn.yaml`."""
    given = user_path("--config", path)
    if given.name != str(path) or given.exists():
        return given
    shipped = {each.stem: each for each in sorted((Path(sys.argv[0]).parent / "configs").glob("*.yaml"))}
    found = shipped.get(given.stem)
    if found is None or found.name != given.name:
        files = [shipped[name].name for name in similar(given.stem, shipped)]
        hint = f"; did you mean {' or '.join(files)}?" if files else ""
        raise ConfigError(f"{given}: No such file or directory{hint}")
    return found


def _value(option: Field[Any], found: Found | bool, what: str) -> Any:
    """The value of an option. ConfigError, which begins with `what`, for a text that is not of its type."""
    if isinstance(found, bool):
        return found
    try:
        return convert(found, option.type)
    except ValueError as error:
        raise ConfigError(f"{what}: expected {described(option.type)}, got {shown(found)}") from error


def _made(values: dict[str, Any], places: dict[str, str]) -> Config:
    """The config of these values. An error about one from a file begins with its place."""
    try:
        return Config(**values)
    except ConfigError as error:
        named = re.match(r"--([\w-]+): ", str(error))
        name = named[1].replace("-", "_") if named else ""
        if name in places:
            raise ConfigError(f"{places[name]}: {error}") from error
        raise

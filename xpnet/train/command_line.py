"""The command line and the YAML files of a training run: both give a `Config`."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import Field, asdict, fields, replace
from pathlib import Path
from typing import Any, NamedTuple

import docstring_parser
import yaml

from xpnet import distributed
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


class Launch(NamedTuple):
    """How the processes of a run find each other: the arguments of `xpnet.distributed.initialize`."""

    coordinator_address: str | None = None
    num_processes: int | None = None
    process_id: int | None = None


class Run(NamedTuple):
    """What a command line describes: a run, the folder to resume, and the processes, if there are several."""

    config: Config
    resume: Path | None = None
    launch: Launch | None = None


def parse_run(arguments: Sequence[str], prog: str, description: str = DESCRIPTION) -> Run:
    """`parse`, with `--distributed` and the options that belong to it."""
    parser = make_parser(prog, description)
    _add_launch(parser)
    found = parser.options(arguments)
    together = found.pop("distributed", False)
    given = {name: found.pop(name) for name in Launch._fields if name in found}
    if given and not together:
        raise ConfigError(f"{option_name(next(iter(given)))}: expected --distributed with it, got none")
    config, resume = _parsed(found)
    if not together:
        return Run(config, resume)
    if config.backend != "jax":
        raise ConfigError(f"--distributed: expected --backend jax, got {config.backend}")
    for name in {"num_processes", "process_id"} & given.keys():
        try:
            given[name] = int(given[name])
        except ValueError as error:
            raise ConfigError(f"{option_name(name)}: expected int, got {shown(given[name])}") from error
    return Run(config, resume, Launch(**given))


def _add_launch(parser: Parser) -> None:
    """Add the options of `Launch`. They belong to a process, not to a run: no file holds them."""
    parser.add_argument(
        "--distributed",
        action="store_true",
        help="train with other processes, each started with the same options; see xpnet/docs/devices.md",
    )
    coordinator, total, number = distributed.VARIABLES
    parser.add_argument(
        "--coordinator-address",
        metavar="HOST:PORT",
        help=f"address of the first process, with a free port; default ${coordinator}, or what JAX finds out "
        "(SLURM, Open MPI, Kubernetes, Cloud TPU)",
    )
    parser.add_argument(
        "--num-processes", metavar="N", help=f"number of processes; default ${total}, or the same"
    )
    parser.add_argument(
        "--process-id", metavar="I", help=f"number of this process, from 0; default ${number}, or the same"
    )


def parse(arguments: Sequence[str], prog: str, description: str = DESCRIPTION) -> tuple[Config, Path | None]:
    """The config that command-line arguments and the YAML files they name describe.

    Options on the command line win over those in files, wherever they stand, and later files over earlier
    ones. With `--resume RUN_DIR` it is the config of that run, and the folder is returned with it.
    `--print_config` prints the config as YAML and ends the program.

    Raises ConfigError, in one line, for an option that does not exist, a value of the wrong type, or an
    option that differs from the resumed run's and cannot change. If a file is at fault, the line names it.
    """
    return _parsed(make_parser(prog, description).options(arguments))


def _parsed(found: dict[str, Any]) -> tuple[Config, Path | None]:
    """The config of these options, and the folder to resume."""
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
        help=f"YAML file of options, or the name of one of xpnet: {', '.join(shipped_configs())}; options on "
        "the command line override it, and later files earlier ones",
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
    """The file; for a name alone that is no file here, such as `cnn.yaml`, the config of xpnet."""
    given = user_path("--config", path)
    if given.exists():
        return given
    shipped = shipped_configs()
    if str(path) in shipped:
        return shipped[str(path)]
    stems = {name.removesuffix(".yaml"): name for name in shipped}
    files = [stems[stem] for stem in similar(given.stem, stems)]
    hint = f"; did you mean {' or '.join(files)}?" if files else ""
    raise ConfigError(f"{given}: No such file or directory{hint}")


def shipped_configs() -> dict[str, Path]:
    """The configs that come with xpnet, by their names: in the installed package, or in the sources."""
    installed = Path(__file__).parent / "configs"
    folder = installed if installed.exists() else Path(__file__).parents[2] / "scripts" / "configs"
    return {path.name: path for path in sorted(folder.glob("*.yaml"))}


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

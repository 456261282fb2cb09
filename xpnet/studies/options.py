"""The options that all studies have, and those of one study alone."""

import argparse
import inspect
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, get_args, get_origin

import docstring_parser

from xpnet import backend as backends
from xpnet import data, studies
from xpnet._util.text import did_you_mean, docstring
from xpnet.backend import Backend
from xpnet.errors import ConfigError
from xpnet.studies import _processes
from xpnet.train.arguments import Parser
from xpnet.train.config import option_name
from xpnet.train.values import convert, described, shown

T = TypeVar("T")


@dataclass(frozen=True)
class Options:
    """The options of a study.

    Arguments:
        backend: the array library.
        device: device of the array library, for example "cuda:1".
        dataset: name of a data set for `xpnet.data.load`; some studies do not need one.
        data_dir: folder of the data sets; None: $XPNET_DATA, else the user's cache.
        download: download a data set that is not in its folder.
        quick: run a small version that takes seconds.
        output_dir: folder of the report; it must be new; None: runs/DATE-TIME-NAME.
        seed: the first of the seeds that the study uses.
        pdf: write the report as PDF, too.
        processes: trainings at the same time, each on one core; None: one a core with NumPy, else 1. The
            results do not depend on it.
    """

    backend: str = "numpy"
    device: str | None = None
    dataset: str = data.datasets.SAMPLE
    data_dir: str | None = None
    download: bool = True
    quick: bool = False
    output_dir: str | None = None
    seed: int = 0
    pdf: bool = False
    processes: int | None = None

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise ConfigError(f"--seed: expected at least 0, got {self.seed}")
        if self.processes is not None:
            most = math.inf if _processes.can_fork(self.backend) else 1
            if not 1 <= self.processes <= most:
                few = "at least 1" if most > 1 else "1 with this backend and system"
                raise ConfigError(f"--processes: expected {few}, got {self.processes}")

    def choose(self, full: T, quick: T) -> T:
        """The full or the quick value: `epochs=options.choose(50, quick=3)`."""
        return quick if self.quick else full

    def seeds(self, count: int) -> range:
        """`count` seeds, starting at `seed`."""
        return range(self.seed, self.seed + count)

    def process_count(self) -> int:
        """The number of trainings that run at the same time."""
        return self.processes or (_processes.cores() if _processes.can_fork(self.backend) else 1)

    def load_dataset(self) -> data.Dataset:
        """The data set. Raises DataError where it cannot be loaded."""
        return data.load(self.dataset, self.data_dir, self.download).as_images()

    def make_backend(self, dtype: str = "float32") -> Backend:
        """The backend. Raises BackendError where it cannot be used."""
        return backends.get(self.backend, self.device, dtype)


def make_parser(prog: str, description: str, usage: str = "%(prog)s [options]") -> Parser:
    """A parser of the options that all studies share. It gives only the options given."""
    parser = Parser(prog, description, usage)
    add = parser.add_argument
    add("--backend", help=f"array library: {', '.join(backends.BACKENDS)}")
    add("--device", help="device of the array library, for example cuda:1")
    add("--dataset", help=", ".join(data.datasets.choices()))
    add(
        "--data-dir",
        metavar="DIR",
        help="folder of the data sets; default $XPNET_DATA, else the user's cache",
    )
    yes_no = argparse.BooleanOptionalAction
    add("--download", action=yes_no, help="download a data set that is not in its folder")
    add("--quick", action="store_true", help="run a small version that takes seconds")
    add(
        "--output-dir",
        metavar="DIR",
        help="folder of the report; it must be new; default runs/DATE-TIME-NAME",
    )
    add("--seed", type=int, help="the first of the seeds that the study uses")
    add("--pdf", action="store_true", help="write the report as PDF, too; it needs reportlab and pypdf")
    add(
        "--processes",
        type=int,
        help="trainings at the same time, each on one core; default: one a core with NumPy, else 1",
    )
    return parser


def parse(arguments: Sequence[str], prog: str, description: str) -> tuple[str, Options, dict[str, Any]]:
    """The name of a study, "list" or "all", and the options: shared ones, and those of some studies alone.

    Raises ConfigError, in one line, for an option that does not exist or has a wrong value.
    """
    parser = make_parser(prog, description, usage="%(prog)s NAME [options]")
    names = "name of a study; `list` prints the names, `all` runs all studies in order"
    parser.add_argument("name", metavar="NAME", help=names)
    shared = parser.option_names() - {"-h", "--help"}
    own: dict[str, list[str]] = {}  # only where needed: it imports all studies
    if any(each.startswith("-") and each.partition("=")[0] not in shared for each in arguments):
        own = _add_own_options(parser)
    found = parser.options(arguments)
    name, more = found.pop("name"), {}
    for option in own.keys() & found.keys():
        if name in studies.NAMES and name not in own[option]:
            raise ConfigError(f"{option_name(option)}: only for {' and '.join(own[option])}, got {name}")
        more[option] = _value(found.pop(option), own_options(own[option][0])[option])
    return name, Options(**found), more


def own_options(name: str) -> dict[str, inspect.Parameter]:
    """The options of that study alone: the keyword-only arguments of its `run`.

    Their type is str, int, float, bool, or a `Literal` of names; their help is in the docstring of `run`.
    """
    parameters = inspect.signature(studies.load(name).run).parameters
    return {option: each for option, each in parameters.items() if each.kind is each.KEYWORD_ONLY}


def _add_own_options(parser: Parser) -> dict[str, list[str]]:
    """Add the options of single studies to the parser. Returns the studies that take each."""
    taken: dict[str, list[str]] = {}
    for name in studies.NAMES:
        for option in own_options(name):
            taken.setdefault(option, []).append(name)
    for option, names in taken.items():
        run = studies.load(names[0]).run
        helps = {each.arg_name: each.description for each in docstring_parser.parse(docstring(run)).params}
        parameter = own_options(names[0])[option]
        text = f"for {', '.join(names)}: {helps[option]} {_kind(parameter)}; default {parameter.default}"
        parser.add_argument(option_name(option), metavar=option.upper(), help=text.replace("%", "%%"))
    return taken


def _kind(option: inspect.Parameter) -> str:
    kind = option.annotation
    return " or ".join(get_args(kind)) if get_origin(kind) is Literal else described(kind)


def _value(found: str, option: inspect.Parameter) -> Any:
    """The value of an option of one study. ConfigError where the text is none."""
    choices = get_args(option.annotation)
    try:
        return found if found in choices else convert(found, option.annotation)
    except (TypeError, ValueError) as error:  # TypeError: a Literal is no class to call
        like = did_you_mean(found, choices)
        raise ConfigError(
            f"{option_name(option.name)}: expected {_kind(option)}, got {shown(found)}{like}"
        ) from error

"""The options that all studies have."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn, TypeVar

from xpnet import backend as backends
from xpnet import data
from xpnet.backend import Backend
from xpnet.errors import ConfigError

T = TypeVar("T")


@dataclass(frozen=True)
class Options:
    """What a study is told by its user.

    Arguments:
        backend: the array library.
        device: where the library has several, say "cuda:1".
        dataset: the name of a data set for `xpnet.data.load`, for the studies that train on one.
        data_dir: folder of the data sets; None: $XPNET_DATA, then the user's cache.
        download: fetch a data set that is not in its folder.
        quick: make it small, to take seconds.
        output_dir: the folder of the report, which must be new; None: runs/DATE-TIME-NAME.
        seed: the first of those that the study uses.
    """

    backend: str = "numpy"
    device: str | None = None
    dataset: str = data.datasets.SAMPLE
    data_dir: str | None = None
    download: bool = True
    quick: bool = False
    output_dir: str | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise ConfigError(f"--seed: expected at least 0, got {self.seed}")

    def choose(self, full: T, quick: T) -> T:
        """The one that is for this run: `epochs=options.choose(50, quick=3)`."""
        return quick if self.quick else full

    def seeds(self, count: int) -> range:
        """So many seeds, from `seed` on."""
        return range(self.seed, self.seed + count)

    def load_dataset(self) -> data.Dataset:
        """The data set. Raises DataError where it is not there."""
        return data.load(self.dataset, self.data_dir, self.download)

    def make_backend(self, dtype: str = "float32") -> Backend:
        """The backend. Raises BackendError where it cannot be used."""
        return backends.get(self.backend, self.device, dtype)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ConfigError(" ".join(message.split()))


def make_parser(prog: str, description: str) -> argparse.ArgumentParser:
    """A parser of the options that all studies have, which gives those that the user did."""
    parser = _Parser(
        prog=prog,
        description=description,
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--backend", help=f"the array library: {', '.join(backends.BACKENDS)}")
    add("--device", help="where the library has several, say cuda:1")
    add("--dataset", help=f"{', '.join(data.datasets.DATASETS)}, or a CSV file's")
    add("--data-dir", metavar="DIR", help="folder of the data sets; else $XPNET_DATA, or the user's cache")
    yes_no = argparse.BooleanOptionalAction
    add("--download", action=yes_no, help="fetch a data set that is not in its folder")
    add("--quick", action="store_true", help="make it small, to take seconds")
    add("--output-dir", metavar="DIR", help="of the report, must be new; else runs/DATE-TIME-NAME")
    add("--seed", type=int, help="the first of those that the study uses")
    return parser


def parse(arguments: Sequence[str], prog: str, description: str) -> tuple[str, Options]:
    """The name of a study, "list" or "all", and the options that command-line arguments describe.

    Raises ConfigError, in one line, for an option that does not exist or has a wrong value.
    """
    parser = make_parser(prog, description)
    names = "of a study; `list` names them, `all` runs them one after the other"
    parser.add_argument("name", metavar="NAME", help=names)
    options = vars(parser.parse_args(arguments))
    return options.pop("name"), Options(**options)

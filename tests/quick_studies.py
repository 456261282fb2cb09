"""Runs of the studies at their quick size, each once for all tests of a process."""

import atexit
import csv
import functools
import shutil
import tempfile
from pathlib import Path

from xpnet.studies import runner
from xpnet.studies.options import Options


@functools.cache
def folder_of(name: str) -> Path:
    """The folder of the study's report."""
    return runner.run(name, Options(quick=True, output_dir=str(_root() / name))).folder


@functools.cache
def _root() -> Path:
    root = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    return Path(root)


def read(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def table(study: str, name: str) -> list[dict[str, str]]:
    """The rows of a table of the study's report."""
    return read(folder_of(study) / f"{name}.csv")

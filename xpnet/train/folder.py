"""The folder of a run: made once, locked by the process that uses it."""

import dataclasses
import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from itertools import count
from pathlib import Path

import yaml

from xpnet._util import files
from xpnet.data import Dataset
from xpnet.errors import ConfigError
from xpnet.train.config import CONFIG_FILE, Config

CHECKPOINTS = "checkpoints"
DATASET_FILE = "dataset.json"  # the names of the classes, and how inputs are made from the numbers of a file


@contextmanager
def new(config: Config) -> Iterator[Path]:
    """Make and lock a new folder with `config.yaml` in it."""
    folder = make(config.output_dir, config.name)
    with _locked(folder):
        write_config(folder, config)
        yield folder


@contextmanager
def old(folder: Path) -> Iterator[Path]:
    """Lock the folder of an existing run."""
    with _locked(folder):
        files.remove_temporaries(folder)
        yield folder


def write_config(folder: Path, config: Config) -> None:
    """Write `config.yaml`: all options except the name of the folder."""
    options = dataclasses.asdict(dataclasses.replace(config, output_dir=None))
    write_text(folder / CONFIG_FILE, yaml.safe_dump(options, sort_keys=False, allow_unicode=True))


def write_dataset(folder: Path, dataset: Dataset) -> None:
    """Write `dataset.json`: `Dataset.describe()`. A resumed run keeps its own."""
    if not (folder / DATASET_FILE).exists():
        write_text(folder / DATASET_FILE, json.dumps(dataset.describe(), indent=2) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a small file completely or not at all."""
    with files.saving(path) as file:
        file.write(text.encode())


def make(output_dir: str | None, name: str) -> Path:
    """Make a new folder: `output_dir`, or `runs/DATE-TIME-NAME`.

    Raises ConfigError where it exists and is not empty, or cannot be made.
    """
    if output_dir:
        folder = Path(output_dir)
        check_new(folder)
    else:
        stamped = Path("runs") / f"{datetime.now():%Y%m%d-%H%M%S}-{name}"
        numbered = (stamped.with_name(f"{stamped.name}-{i}") for i in count(2))
        folder = stamped
        while folder.exists():  # another run started in the same second
            folder = next(numbered)
    try:
        if folder.is_dir():
            folder.rmdir()
        folder.mkdir(parents=True)
    except OSError as error:
        raise ConfigError(f"--output-dir: cannot make {folder}: {error.strerror}") from error
    return folder


def check_new(folder: Path) -> None:
    """ConfigError unless the folder is missing or empty."""
    try:
        taken = any(folder.iterdir()) if folder.is_dir() else folder.exists()
    except OSError as error:
        raise ConfigError(f"--output-dir: cannot make {folder}: {error.strerror}") from error
    if taken:
        what = f", a run: resume it with --resume {folder}" if (folder / CONFIG_FILE).exists() else ""
        raise ConfigError(f"--output-dir: expected a folder that does not exist, got {folder}{what}")


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    try:
        (folder / CHECKPOINTS).mkdir(exist_ok=True)
        lock = files.lock(folder / CHECKPOINTS / "lock")
    except BlockingIOError as error:
        raise ConfigError(f"{folder}: expected a run that no process uses, got one in use") from error
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be written ({error.strerror})") from error
    with lock:
        yield

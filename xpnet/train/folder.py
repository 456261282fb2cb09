"""The folder of a run: made once, used by one process at a time."""

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from itertools import count
from pathlib import Path

import yaml

from xpnet._util import files
from xpnet.errors import ConfigError
from xpnet.train.config import CONFIG_FILE, Config

CHECKPOINTS = "checkpoints"


@contextmanager
def new(config: Config) -> Iterator[Path]:
    """A folder that was not there, with `config.yaml` in it, for this process alone."""
    folder = make(config.output_dir, config.name)
    with _locked(folder):
        write_config(folder, config)
        yield folder


@contextmanager
def old(folder: Path) -> Iterator[Path]:
    """The folder of a run, for this process alone."""
    with _locked(folder):
        files.remove_temporaries(folder)
        yield folder


def write_config(folder: Path, config: Config) -> None:
    """Write `config.yaml`: all options but the folder's own name."""
    options = dataclasses.asdict(dataclasses.replace(config, output_dir=None))
    write_text(folder / CONFIG_FILE, yaml.safe_dump(options, sort_keys=False, allow_unicode=True))


def write_text(path: Path, text: str) -> None:
    """Write a small file, whole or not at all."""
    with files.saving(path) as file:
        file.write(text.encode())


def make(output_dir: str | None, name: str) -> Path:
    """A folder that was not there: `output_dir`, or `runs/DATE-TIME-NAME`.

    Raises ConfigError where there is something in it, or it cannot be made.
    """
    if output_dir:
        folder = Path(output_dir)
        check_new(folder)
    else:
        stamped = Path("runs") / f"{datetime.now():%Y%m%d-%H%M%S}-{name}"
        numbered = (stamped.with_name(f"{stamped.name}-{i}") for i in count(2))
        folder = stamped
        while folder.exists():  # another run began in the same second
            folder = next(numbered)
    try:
        if folder.is_dir():
            folder.rmdir()
        folder.mkdir(parents=True)
    except OSError as error:
        raise ConfigError(f"--output-dir: cannot make {folder}: {error.strerror}") from error
    return folder


def check_new(folder: Path) -> None:
    """ConfigError where there is something in that folder, or a file in its place."""
    try:
        taken = any(folder.iterdir()) if folder.is_dir() else folder.exists()
    except OSError as error:
        raise ConfigError(f"--output-dir: cannot make {folder}: {error.strerror}") from error
    if taken:
        what = f", a run: --resume {folder} goes on with it" if (folder / CONFIG_FILE).exists() else ""
        raise ConfigError(f"--output-dir: expected a folder that does not exist, got {folder}{what}")


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    try:
        (folder / CHECKPOINTS).mkdir(exist_ok=True)
        lock = files.lock(folder / CHECKPOINTS / "lock")
    except BlockingIOError as error:
        raise ConfigError(f"{folder}: expected a run that no process works on, got one at work") from error
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be written ({error.strerror})") from error
    with lock:
        yield

"""The folder of a run: made once, locked by the process that uses it."""

import dataclasses
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from itertools import count
from pathlib import Path

import yaml

from xpnet import distributed
from xpnet._util import files
from xpnet.errors import ConfigError
from xpnet.train.config import CONFIG_FILE, Config

CHECKPOINTS = "checkpoints"
METRICS, SUMMARY, BEST = "metrics.csv", "summary.json", "best.npz"
LONGEST_NAME = 200  # bytes: file systems allow 255, with the date


def check(config: Config, resume: Path | None) -> None:
    """ConfigError unless a new run can have its folder, or the run to resume has a checkpoint."""
    if resume is None:
        check_new(config.output_dir, config.name)
    else:
        check_checkpoints(resume)


@contextmanager
def opened(config: Config, resume: Path | None) -> Iterator[Path]:
    """The folder of a run, made or locked by the first of several processes. The others write nothing."""
    if distributed.process_id() > 0:
        yield Path(os.fsdecode(distributed.broadcast(b"")))
        return
    with new(config) if resume is None else old(resume) as folder:
        distributed.broadcast(os.fsencode(folder))
        yield folder


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


def write_text(path: Path, text: str) -> None:
    """Write a small file completely or not at all, in UTF-8."""
    write_bytes(
        path, text.encode(errors="backslashreplace")
    )  # a file name may hold bytes that are no letters


def write_bytes(path: Path, content: bytes) -> None:
    """Write a small file completely or not at all."""
    with files.saving(path) as file:
        file.write(content)


def make(output_dir: str | None, name: str) -> Path:
    """Make a new folder: `output_dir`, or `runs/DATE-TIME-NAME`.

    Raises ConfigError where it exists and is not empty, or cannot be made.
    """
    check_new(output_dir, name)
    try:
        if output_dir:
            folder = user_path("--output-dir", output_dir)
        else:
            stamped = Path("runs") / f"{datetime.now():%Y%m%d-%H%M%S}-{name}"
            numbered = (stamped.with_name(f"{stamped.name}-{i}") for i in count(2))
            folder = stamped
            while folder.exists():  # another run started in the same second
                folder = next(numbered)
        if folder.is_dir():
            folder.rmdir()
        folder.mkdir(parents=True)
    except OSError as error:
        raise ConfigError(f"--output-dir: cannot make {folder}: {error.strerror}") from error
    return folder


def check_new(output_dir: str | None, name: str = "") -> None:
    """ConfigError unless `output_dir` is missing or empty, or without it `name` can end a folder's name."""
    if not output_dir:
        one_part = name.isprintable() and not {"/", "\\"} & set(name) and name.strip(" .")
        if not one_part or len(name.encode()) > LONGEST_NAME:
            raise ConfigError(
                f"--name: expected a name for a folder in runs/, at most {LONGEST_NAME} bytes without a "
                f"slash, got {name!r}"
            )
        return
    folder = user_path("--output-dir", output_dir)
    try:
        taken = any(folder.iterdir()) if folder.is_dir() else folder.exists()
    except OSError as error:
        raise ConfigError(f"--output-dir: cannot make {folder}: {error.strerror}") from error
    if taken:
        what = f", a run: resume it with --resume {folder}" if (folder / CONFIG_FILE).exists() else ""
        raise ConfigError(f"--output-dir: expected a folder that does not exist, got {folder}{what}")


def user_path(option: str, path: str | Path) -> Path:
    """The path that an option gives, with the home folder for `~`. ConfigError where no file can have it."""
    expanded = os.path.expanduser(path)
    if str(path).startswith("~") and expanded == str(path):
        raise ConfigError(f"{option}: expected a path, got {path}: no such user")
    if "\0" in expanded:
        raise ConfigError(f"{option}: expected a path, got {str(path)!r}")
    return Path(expanded)


def check_checkpoints(folder: Path) -> None:
    """ConfigError for a run that has results, but no checkpoint: resumed, it would overwrite them."""
    if any((folder / CHECKPOINTS).glob("epoch-*.safetensors")):
        return
    table = folder / METRICS  # a row is written after the checkpoint of its epoch
    epochs = table.read_bytes().count(b"\n") - 1 if table.is_file() else 0
    if epochs > 0 or (folder / SUMMARY).exists():
        raise ConfigError(
            f"--resume: expected a checkpoint in {folder / CHECKPOINTS}, got none for a run with results; "
            f"to begin again in a new folder, use --config {folder / CONFIG_FILE}"
        )


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

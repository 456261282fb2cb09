"""Find the files of data sets: in the current folder, the folder of all data sets, or the user's cache."""

import os
from pathlib import Path

from xpnet._util.files import user_cache
from xpnet.errors import DataError

Folder = str | os.PathLike[str] | None


def data_folder(data_dir: Folder) -> Path:
    """The folder of all data sets: `data_dir`, else `$XPNET_DATA`, else the user's cache."""
    chosen = data_dir or os.environ.get("XPNET_DATA")
    return Path(os.path.expanduser(chosen)) if chosen else user_cache()


def find(name: str, data_dir: Folder) -> Path:
    """The path of a file or folder, from the current folder or else from that of all data sets."""
    path = Path(os.path.expanduser(name))
    if path.is_absolute() or exists(path):
        return path
    folder = data_folder(data_dir)
    if exists(folder / path):
        return folder / path
    raise DataError(
        f"{path}: no such file in {Path.cwd()} or in {folder}; "
        "the --data-dir option or $XPNET_DATA names another folder"
    )


def exists(path: Path) -> bool:
    """Whether there is a file or folder. Raises DataError where that cannot be known."""
    try:
        return path.exists()
    except OSError as error:  # a parent folder cannot be entered
        raise DataError(f"{path}: {error.strerror}") from error

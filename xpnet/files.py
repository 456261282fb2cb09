"""Files that are never half-written, and arrays in `.npz` files."""

import os
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np

from xpnet.errors import CheckpointError


@contextmanager
def replacing(path: str | Path) -> Iterator[IO[bytes]]:
    """A binary file to write to, which takes the place of `path` when the block ends without an error.

    Until then, and after an error, what was at `path` is as it was.
    """
    path = Path(path)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def _umask() -> int:
    mask = os.umask(0)  # the only way to read it is to set it
    os.umask(mask)
    return mask


def save_arrays(path: str | Path, arrays: dict[str, np.ndarray]) -> None:
    """Write named arrays to a `.npz` file; no pickle."""
    with replacing(path) as file:
        np.savez(file, allow_pickle=False, **arrays)


def load_arrays(path: str | Path, shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """The named arrays of a `.npz` file, which are to have these shapes; nothing in it is ever executed.

    Raises CheckpointError where the file is missing, damaged, holds pickled objects or other arrays.
    """
    arrays = _read_arrays(path)
    found = {name: array.shape for name, array in arrays.items()}
    for name in shapes | found:
        if shapes.get(name) != found.get(name):
            raise CheckpointError(
                f"{path}: expected {name} of shape {shapes.get(name)}, got {found.get(name)}"
            )
    return arrays


def _read_arrays(path: str | Path) -> dict[str, np.ndarray]:
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        for name, array in arrays.items():
            if not isinstance(array, np.ndarray):
                raise ValueError(f"{name} is no array")
        return arrays
    except (
        OSError,
        ValueError,
        EOFError,
        AttributeError,
        TypeError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        raise CheckpointError(f"{path}: expected a .npz file of parameters: {error}") from error

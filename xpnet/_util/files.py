"""The user's cache, atomic writing of files, file locks, and arrays in `.npz` files."""

import errno
import os
import tempfile
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

import numpy as np
import platformdirs

from xpnet.errors import CheckpointError

CONVERT = "; xpnet.convert reads weights of PyTorch and Keras"
FOREIGN = {  # files of other kinds, and the way out
    ".safetensors": "; load_checkpoint reads a checkpoint, xpnet.convert weights of PyTorch",
    **dict.fromkeys((".keras", ".h5", ".pt", ".pth"), CONVERT),
}

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]


def user_cache() -> Path:
    """The folder of this user's cache: `~/.cache/xpnet` on Linux."""
    return Path(platformdirs.user_cache_dir("xpnet"))


@contextmanager
def replacing(path: str | Path) -> Iterator[IO[bytes]]:
    """A binary file to write to; it replaces `path` when the block ends without an error.

    Until then, and after an error, `path` is unchanged.
    """
    path = Path(path)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):  # the folder may be gone
            os.unlink(temporary)
        raise
    _sync_folder(path.parent)


@contextmanager
def saving(path: str | Path) -> Iterator[IO[bytes]]:
    """`replacing`, with CheckpointError if the file cannot be written."""
    try:
        with replacing(path) as file:
            yield file
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be written ({error.strerror or error})") from error


def _sync_folder(folder: Path) -> None:
    """Make renames in a folder survive a power failure, if the system can."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def remove_temporaries(folder: Path) -> None:
    """Remove the temporary files that `replacing` leaves in a folder when the process is killed."""
    for path in folder.glob(".*.????????.part"):
        path.unlink(missing_ok=True)


def lock(path: Path, *, shared: bool = False, wait: bool = False) -> IO[bytes]:
    """Lock a file, created if it does not exist, until it is closed or the process ends in any way.

    Raises BlockingIOError if the file is already locked, by another process or by this one, unless it is to
    wait. A shared lock allows other shared ones.
    """
    file = path.open("a+b")
    try:
        if fcntl is not None:
            kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
            fcntl.flock(file, kind if wait else kind | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):  # a file system without locks
            file.close()
            raise
    return file


def share(file: IO[bytes]) -> None:
    """Make the lock of a file, as `lock` gives it, a shared one."""
    if fcntl is not None:
        with suppress(OSError):  # a file system without locks
            fcntl.flock(file, fcntl.LOCK_SH)


def _umask() -> int:
    mask = os.umask(0)  # the only way to read it is to set it
    os.umask(mask)
    return mask


def save_arrays(path: str | Path, arrays: dict[str, np.ndarray]) -> None:
    """Write named arrays to a `.npz` file, without pickle. CheckpointError if it cannot be written."""
    # Not `np.savez`: it keeps some names for its own arguments, and has no `allow_pickle` before NumPy 2.2.
    with saving(path) as file, zipfile.ZipFile(file, "w") as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, array, allow_pickle=False)


Shapes = dict[str, tuple[int, ...]]


def load_arrays(
    path: str | Path, shapes: Shapes, refuse: Callable[[Shapes], None] = lambda found: None
) -> dict[str, np.ndarray]:
    """The named arrays of a `.npz` file, with the expected shapes. Never executes code from the file.

    Raises CheckpointError if the file is missing, is damaged, holds pickled objects or holds other arrays. It
    checks all headers before it reads any array, so that a damaged header cannot allocate much memory.
    `refuse` may raise a CheckpointError that says more of the shapes in the file.
    """
    try:
        with zipfile.ZipFile(path) as archive, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Python warns of invalid escapes in a damaged header
            found = {name.removesuffix(".npy"): _shape(archive, name) for name in archive.namelist()}
            refuse(found)
            for name in shapes | found:
                if shapes.get(name) != found.get(name):
                    raise CheckpointError(
                        f"{path}: expected {name} of shape {shapes.get(name)}, got {found.get(name)}"
                    )
            return {name: _read(archive, f"{name}.npy") for name in shapes}
    except CheckpointError:
        raise
    except Exception as error:  # zipfile, zlib, tokenize and NumPy raise many kinds
        reason = getattr(error, "strerror", None) or error  # an OSError's text repeats the path
        way_out = FOREIGN.get(Path(path).suffix, "")
        raise CheckpointError(f"{path}: expected a .npz file of parameters: {reason}{way_out}") from error


def _shape(archive: zipfile.ZipFile, name: str) -> tuple[int, ...]:
    """The shape in an array's header. ValueError unless it is an array of numbers."""
    with archive.open(name) as file:
        if not name.endswith(".npy") or (version := np.lib.format.read_magic(file)) not in _HEADERS:
            raise ValueError(f"{name} is not an array")
        shape, _, dtype = _HEADERS[version](file)
    if dtype.kind not in "biuf":
        raise ValueError(f"{name} has dtype {dtype}, not numbers")
    return shape


_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def _read(archive: zipfile.ZipFile, name: str) -> np.ndarray:
    with archive.open(name) as file:
        return np.lib.format.read_array(file, allow_pickle=False)

"""Read the Python version of CIFAR-10 and CIFAR-100, which is pickled, without running code from the file.

A pickle names functions to call. Here a few names are known, and stand for functions of this module; any
other is refused.
"""

import io
import pickle
import tarfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xpnet.errors import DataError

PIXELS = 3 * 32 * 32


class _Array:
    """An array as the file describes it: shape, type and bytes."""

    def __init__(self, *_: Any) -> None:
        self.content: NDArray[np.uint8] | None = None

    def __setstate__(self, state: Any) -> None:
        _, shape, kind, by_columns, content = state
        if not isinstance(kind, _Kind) or kind.name not in ("u1", "|u1") or by_columns:
            raise pickle.UnpicklingError("an array of other numbers than bytes")
        content = content.encode("latin-1") if isinstance(content, str) else content
        self.content = np.frombuffer(content, np.uint8).reshape(shape)


class _Kind:
    """The type of an array's numbers."""

    def __init__(self, name: Any, *_: Any) -> None:
        self.name = name.decode() if isinstance(name, bytes) else name

    def __setstate__(self, state: Any) -> None:
        pass


def _reconstruct(kind: Any, *_: Any) -> _Array:
    if kind is not _Array:
        raise pickle.UnpicklingError("an object that is no array")
    return _Array()


def _frombuffer(content: Any, kind: Any, shape: Any, order: str) -> _Array:
    array = _Array()
    array.__setstate__((1, shape, kind, order == "F", content))
    return array


def _encode(text: Any, encoding: Any = "utf-8") -> bytes:
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError("text in another encoding")
    return text.encode("latin-1")


KNOWN = {
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy.core.numeric", "_frombuffer"): _frombuffer,
    ("numpy._core.numeric", "_frombuffer"): _frombuffer,
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Kind,
    ("_codecs", "encode"): _encode,
}


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        """The stand-in for a function that the file names."""
        if (module, name) not in KNOWN:
            raise pickle.UnpicklingError(f"the file asks for {module}.{name}, which is not run")
        return KNOWN[module, name]


def unpacked(archive: Path, folder: str, names: Sequence[str]) -> list[bytes]:
    """The content of the files with these names in a folder of the archive. Raises DataError without one."""
    try:
        with tarfile.open(archive, "r:*") as tar:
            files = [tar.extractfile(f"{folder}/{name}") for name in names]
            return [file.read() if file else b"" for file in files]
    except (OSError, KeyError, EOFError, zlib.error, tarfile.TarError) as error:
        raise DataError(f"{archive}: cannot be unpacked ({error})") from error


def read(path: Path, content: bytes, label: str, classes: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Images as planes (n, 3, 32, 32) and labels (n,).

    Arguments:
        path: of the content, for errors.
        label: the key of the labels: "labels" for CIFAR-10, "fine_labels" for CIFAR-100.
        classes: labels are below.

    Raises DataError where the content is damaged, or asks for code to run.
    """
    try:
        found = _Reader(io.BytesIO(content), encoding="latin-1").load()
        named = {key.decode() if isinstance(key, bytes) else key: value for key, value in found.items()}
        array, labels = named["data"].content, np.array(named[label])
    except Exception as error:  # a damaged pickle raises any kind
        raise DataError(f"{path}: expected a batch of CIFAR images: {error!r}"[:300]) from error
    if array is None or array.ndim != 2 or array.shape[1] != PIXELS or not len(array):
        raise DataError(f"{path}: expected images of {PIXELS} bytes, got an array of another shape")
    if labels.shape != (len(array),) or labels.dtype.kind != "i":
        raise DataError(f"{path}: expected {len(array)} labels, got {labels.dtype} of shape {labels.shape}")
    if labels.min() < 0 or labels.max() >= classes:
        raise DataError(
            f"{path}: expected labels from 0 to {classes - 1}, got {labels.min()} to {labels.max()}"
        )
    return array.reshape(-1, 3, 32, 32), labels.astype(np.int64)

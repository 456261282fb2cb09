"""Read idx files, the format of MNIST and its relatives, gzipped or not.

An idx file is a header and then the numbers in C order. The header is big-endian: two zero bytes, one byte
for the type of the numbers (8: unsigned bytes), one for the number of dimensions, four for each dimension.

Source: Y. LeCun, C. Cortes, C. J. C. Burges, "The MNIST database of handwritten digits",
http://yann.lecun.com/exdb/mnist/ (the section "File formats").
"""

import gzip
import math
import zlib
from importlib.resources.abc import Traversable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xpnet.errors import DataError

UNSIGNED_BYTES = 8
CHUNK = 1 << 20


def read(path: Traversable, item: tuple[int, ...] = ()) -> NDArray[np.uint8]:
    """The items of the idx file at `path`: `(28, 28)` reads images, `()` reads labels.

    Arguments:
        path: a `pathlib.Path` or a resource of a package; gzipped where its name ends in `.gz`.
        item: the shape of one item.

    Returns unsigned bytes (n, *item), n >= 1, C-contiguous and writable.

    Raises DataError where the file is unreadable, damaged, or holds something else.
    """
    data = bytearray()
    try:
        with path.open("rb") as raw, _unzipped(raw, path.name) as file:
            header = 4 + 4 * (1 + len(item))
            _fill(data, file, header)
            shape = _check_header(path, data, item)
            size = header + math.prod(shape)
            _fill(data, file, size)
            more = file.read(1)  # also makes gzip compare its checksum
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path}: damaged gzip stream after {len(data)} bytes: {error}") from error
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from error
    if len(data) < size:
        raise DataError(f"{path}: truncated: expected {size} bytes for {_by(shape)}, got {len(data)}")
    if more:
        raise DataError(f"{path}: expected the end at byte {size} after {_by(shape)}, got more bytes")
    return np.frombuffer(data, np.uint8, offset=header).reshape(shape)


def _unzipped(raw: Any, name: str) -> Any:
    return gzip.GzipFile(fileobj=raw) if name.endswith(".gz") else raw


def _fill(data: bytearray, file: Any, size: int) -> None:
    """Read until `data` has `size` bytes or the file ends.

    A damaged header can make `size` huge: reading in chunks allocates memory only for bytes in the file.
    """
    while len(data) < size and (chunk := file.read1(min(size - len(data), CHUNK))):
        data += chunk


def _check_header(path: Traversable, data: bytearray, item: tuple[int, ...]) -> tuple[int, ...]:
    """The shape in the header. Raises DataError unless it holds at least one `item`."""
    if not data:
        raise DataError(f"{path}: expected an idx file, got an empty file")
    magic = bytes([0, 0, UNSIGNED_BYTES, 1 + len(item)])
    if data[:4] != magic[: len(data)]:
        raise DataError(
            f"{path}: byte 0: expected the magic number 0x{magic.hex()} "
            f"(unsigned bytes, dimensions: {magic[3]}), got 0x{data[:4].hex()}"
        )
    header = 4 + 4 * (1 + len(item))
    if len(data) < header:
        raise DataError(f"{path}: truncated: expected a header of {header} bytes, got {len(data)}")
    shape = tuple(int.from_bytes(data[start : start + 4], "big") for start in range(4, header, 4))
    if shape[1:] != item:
        raise DataError(f"{path}: byte 8: expected items of size {_by(item)}, got {_by(shape[1:])}")
    if shape[0] == 0:
        raise DataError(f"{path}: byte 4: expected at least one item, got 0")
    return shape


def _by(shape: tuple[int, ...]) -> str:
    return " x ".join(str(size) for size in shape)

"""Read the binary version of CIFAR-10, which contains no pickles, and unpack its archive.

A file is 10,000 records of 3,073 bytes: the label, then the red, the green and the blue plane of the image,
each of 32 rows of 32 bytes.

Source: A. Krizhevsky, "Learning multiple layers of features from tiny images", 2009, and
https://www.cs.toronto.edu/~kriz/cifar.html (the section "Binary version").
"""

import hashlib
import shutil
import tarfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from xpnet._util.files import replacing
from xpnet.errors import DataError

CLASS_NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
TRAIN_FILES = tuple(f"data_batch_{i}.bin" for i in range(1, 6))
TEST_FILE = "test_batch.bin"
ARCHIVE = "cifar-10-binary.tar.gz"
UNPACKED = "cifar-10-batches-bin"  # the folder in the archive

RECORDS = 10_000
IMAGE = (3, 32, 32)
RECORD = 1 + 3 * 32 * 32


def read(paths: Sequence[Path]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The images and labels of all files, in the order of the files.

    Returns x (n, 32, 32, 3) float32 in [0, 1] and y (n,) int64, both C-contiguous and writable.

    Raises DataError where a file is unreadable, has the wrong size, or a label above 9.
    """
    x = np.empty((len(paths), RECORDS, *IMAGE[1:], IMAGE[0]), np.float32)
    y = np.empty((len(paths), RECORDS), np.int64)
    for i, path in enumerate(paths):
        records = _records(path)
        y[i] = records[:, 0]
        # Transposing bytes before the conversion to floats is 4 times as fast as both at once.
        x[i] = records[:, 1:].reshape(-1, *IMAGE).transpose(0, 2, 3, 1).copy()
    x /= 255
    return x.reshape(-1, *x.shape[2:]), y.reshape(-1)


def _records(path: Path) -> NDArray[np.uint8]:
    size = RECORDS * RECORD
    try:
        with path.open("rb") as file:
            data = file.read(size + 1)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from error
    if len(data) < size:
        raise DataError(f"{path}: truncated: expected {size} bytes for {RECORDS} images, got {len(data)}")
    if len(data) > size:
        raise DataError(f"{path}: expected the end at byte {size} after {RECORDS} images, got more bytes")
    records = np.frombuffer(data, np.uint8).reshape(RECORDS, RECORD)
    wrong = records[:, 0] >= len(CLASS_NAMES)
    if wrong.any():
        i = int(wrong.argmax())
        raise DataError(
            f"{path}: byte {i * RECORD}: expected the label of image {i}, 0 to {len(CLASS_NAMES) - 1}, "
            f"got {records[i, 0]}"
        )
    return records


def unpack(archive: Path, md5: str, paths: Sequence[Path]) -> None:
    """Unpack from the archive the files that `paths` name, and nothing else.

    Raises DataError where the archive is not the one with that MD5 sum, or a path cannot be written.
    """
    missing = {f"{UNPACKED}/{path.name}": path for path in paths}
    try:
        with archive.open("rb") as file:
            found = hashlib.file_digest(file, "md5").hexdigest()
            if found != md5:
                raise DataError(f"{archive}: expected a file with the MD5 sum {md5}, got {found}")
            file.seek(0)
            with tarfile.open(fileobj=file, mode="r|gz") as tar:
                for member in tar:
                    if member.name in missing and member.isfile() and member.size == RECORDS * RECORD:
                        _copy(tar, member, missing.pop(member.name))
    except OSError as error:
        what = error.strerror or error
        raise DataError(f"{error.filename or archive}: cannot be unpacked ({what})") from error
    if missing:
        raise DataError(
            f"{archive}: expected a file {min(missing)} of {RECORDS * RECORD} bytes in it, got none"
        )


def _copy(tar: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> None:
    source = tar.extractfile(member)
    assert source is not None  # it is None only for what is not a file
    path.parent.mkdir(parents=True, exist_ok=True)
    with source, replacing(path) as target:
        shutil.copyfileobj(source, target)

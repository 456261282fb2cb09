"""Read CIFAR-10 and CIFAR-100: the binary version, which contains no pickles, or the Python version without
running code from it. Unpack the archive of the binary version.

A binary file is records of 3,073 bytes: the label, then the red, the green and the blue plane of the image,
each of 32 rows of 32 bytes. Those of CIFAR-100 have the number of a group of classes before the label.

Source: A. Krizhevsky, "Learning multiple layers of features from tiny images", 2009, and
https://www.cs.toronto.edu/~kriz/cifar.html (the section "Binary version").
"""

import hashlib
import shutil
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from xpnet._util.files import replacing
from xpnet.data import cifar_python
from xpnet.data.dataset import Dataset, Examples, Preparation
from xpnet.data.find import exists
from xpnet.errors import DataError

CLASS_NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
CLASS_NAMES_100 = (
    "apple", "aquarium_fish", "baby", "bear", "beaver", "bed", "bee", "beetle", "bicycle", "bottle", "bowl",
    "boy", "bridge", "bus", "butterfly", "camel", "can", "castle", "caterpillar", "cattle", "chair",
    "chimpanzee", "clock", "cloud", "cockroach", "couch", "crab", "crocodile", "cup", "dinosaur", "dolphin",
    "elephant", "flatfish", "forest", "fox", "girl", "hamster", "house", "kangaroo", "keyboard", "lamp",
    "lawn_mower", "leopard", "lion", "lizard", "lobster", "man", "maple_tree", "motorcycle", "mountain",
    "mouse", "mushroom", "oak_tree", "orange", "orchid", "otter", "palm_tree", "pear", "pickup_truck",
    "pine_tree", "plain", "plate", "poppy", "porcupine", "possum", "rabbit", "raccoon", "ray", "road",
    "rocket", "rose", "sea", "seal", "shark", "shrew", "skunk", "skyscraper", "snail", "snake", "spider",
    "squirrel", "streetcar", "sunflower", "sweet_pepper", "table", "tank", "telephone", "television",
    "tiger", "tractor", "train", "trout", "tulip", "turtle", "wardrobe", "whale", "willow_tree", "wolf",
    "woman", "worm",
)  # fmt: skip
TRAIN_FILES = tuple(f"data_batch_{i}.bin" for i in range(1, 6))
TEST_FILE = "test_batch.bin"
ARCHIVE = "cifar-10-binary.tar.gz"
UNPACKED = "cifar-10-batches-bin"  # the folder in the archive

RECORDS = 10_000
IMAGE = (3, 32, 32)
RECORD = 1 + 3 * 32 * 32


class Version(NamedTuple):
    """The files of a data set.

    Fields:
        archive, unpacked: of the binary version: the archive, and the folder in it.
        train, test: the binary files.
        batches: a training file's number of records, in units of `RECORDS`.
        extra: bytes before the label of a record.
        python: the folder of the Python version; its files are named as the binary ones, without suffix.
        python_archive: the archive with that folder.
        label: the key of the labels there.
    """

    archive: str
    unpacked: str
    train: tuple[str, ...]
    test: str
    batches: int
    extra: int
    python: str
    python_archive: str
    label: str
    class_names: tuple[str, ...]


VERSIONS = {
    "cifar10": Version(
        ARCHIVE, UNPACKED, TRAIN_FILES, TEST_FILE, 1, 0, "cifar-10-batches-py",
        "cifar-10-python.tar.gz", "labels", CLASS_NAMES,
    ),
    "cifar100": Version(
        "cifar-100-binary.tar.gz", "cifar-100-binary", ("train.bin",), "test.bin", 5, 1,
        "cifar-100-python", "cifar-100-python.tar.gz", "fine_labels", CLASS_NAMES_100,
    ),
}  # fmt: skip


def load(name: str, folder: Path, fetch: Callable[[str, str], Path], md5: str) -> Dataset:
    """The data set of that name.

    Arguments:
        folder: of all data sets.
        fetch: called with the name of the archive and that of a missing file; gives the archive's path.
        md5: of the archive.
    """
    version = VERSIONS[name]
    own, files = folder / name, (*version.train, version.test)
    for root in (own, own / version.unpacked, folder / version.unpacked, folder):
        paths = [root / file for file in files]
        if all(map(exists, paths)):
            return _read_binary(name, paths)
    for root in (own, own / version.python, folder / version.python, folder):
        paths = [root / file.removesuffix(".bin") for file in files]
        if all(map(exists, paths)):
            return _read_python(name, paths, [_bytes(path) for path in paths])
    for archive in (own / version.python_archive, folder / version.python_archive):
        if exists(archive):
            inside = [file.removesuffix(".bin") for file in files]
            contents = cifar_python.unpacked(archive, version.python, inside)
            return _read_python(name, [archive / file for file in inside], contents)
    paths = [path if exists(path := own / file) else own / version.unpacked / file for file in files]
    missing = [path for path in paths if not exists(path)]
    if missing:
        archive = own / version.archive
        if not exists(archive):
            archive = fetch(version.archive, missing[0].name)
        batches = {version.test: 1, **dict.fromkeys(version.train, version.batches)}
        sizes = {path: batches[path.name] * RECORDS * (RECORD + version.extra) for path in missing}
        unpack(archive, md5, version.unpacked, sizes)
    return _read_binary(name, paths)


def _read_binary(name: str, paths: Sequence[Path]) -> Dataset:
    version = VERSIONS[name]
    classes, extra = len(version.class_names), version.extra
    train = read(paths[:-1], classes, extra, version.batches)
    return _dataset(name, train, read(paths[-1:], classes, extra))


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from error


def _read_python(name: str, paths: Sequence[Path], contents: Sequence[bytes]) -> Dataset:
    version = VERSIONS[name]
    parts = [
        cifar_python.read(path, content, version.label, len(version.class_names))
        for path, content in zip(paths, contents, strict=True)
    ]
    pairs = []
    for part in (parts[:-1], parts[-1:]):
        x = np.concatenate([planes.transpose(0, 2, 3, 1).copy() for planes, _ in part]).astype(np.float32)
        x /= 255
        pairs.append((x, np.concatenate([y for _, y in part])))
    return _dataset(name, *pairs)


def _dataset(
    name: str,
    train: tuple[NDArray[np.float32], NDArray[np.int64]],
    test: tuple[NDArray[np.float32], NDArray[np.int64]],
) -> Dataset:
    names = VERSIONS[name].class_names
    preparation = Preparation((32, 32, 3), planes=True)
    return Dataset(name, Examples(*train), Examples(*test), len(names), names, preparation=preparation)


def read(
    paths: Sequence[Path], classes: int = len(CLASS_NAMES), extra: int = 0, batches: int = 1
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The images and labels of all files, in the order of the files.

    Arguments:
        classes, extra: labels are below `classes`, and `extra` bytes stand before each.
        batches: the number of records in a file, in units of `RECORDS`.

    Returns x (n, 32, 32, 3) float32 in [0, 1] and y (n,) int64, both C-contiguous and writable.

    Raises DataError where a file is unreadable, has the wrong size, or a label that is too large.
    """
    records = RECORDS * batches
    x = np.empty((len(paths), records, *IMAGE[1:], IMAGE[0]), np.float32)
    y = np.empty((len(paths), records), np.int64)
    for i, path in enumerate(paths):
        content = _records(path, records, classes, extra)
        y[i] = content[:, extra]
        # Transposing bytes before the conversion to floats is 4 times as fast as both at once.
        x[i] = content[:, extra + 1 :].reshape(-1, *IMAGE).transpose(0, 2, 3, 1).copy()
    x /= 255
    return x.reshape(-1, *x.shape[2:]), y.reshape(-1)


def _records(path: Path, number: int, classes: int, extra: int) -> NDArray[np.uint8]:
    record = RECORD + extra
    size = number * record
    try:
        with path.open("rb") as file:
            data = file.read(size + 1)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from error
    if len(data) < size:
        raise DataError(f"{path}: truncated: expected {size} bytes for {number} images, got {len(data)}")
    if len(data) > size:
        raise DataError(f"{path}: expected the end at byte {size} after {number} images, got more bytes")
    records = np.frombuffer(data, np.uint8).reshape(number, record)
    wrong = records[:, extra] >= classes
    if wrong.any():
        i = int(wrong.argmax())
        raise DataError(
            f"{path}: byte {i * record + extra}: expected the label of image {i}, 0 to {classes - 1}, "
            f"got {records[i, extra]}"
        )
    return records


def unpack(archive: Path, md5: str, folder: str, sizes: dict[Path, int]) -> None:
    """Unpack from a folder of the archive the files whose paths and sizes are given, and nothing else.

    Raises DataError where the archive is not the one with that MD5 sum, or a path cannot be written.
    """
    missing = {f"{folder}/{path.name}": path for path in sizes}
    try:
        with archive.open("rb") as file:
            found = hashlib.file_digest(file, "md5").hexdigest()
            if found != md5:
                raise DataError(f"{archive}: expected a file with the MD5 sum {md5}, got {found}")
            file.seek(0)
            with tarfile.open(fileobj=file, mode="r|gz") as tar:
                for member in tar:
                    path = missing.get(member.name)
                    if path is not None and member.isfile() and member.size == sizes[path]:
                        _copy(tar, member, missing.pop(member.name))
    except OSError as error:
        what = error.strerror or error
        raise DataError(f"{error.filename or archive}: cannot be unpacked ({what})") from error
    if missing:
        name = min(missing)
        raise DataError(f"{archive}: expected a file {name} of {sizes[missing[name]]} bytes in it, got none")


def _copy(tar: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> None:
    source = tar.extractfile(member)
    assert source is not None  # it is None only for what is not a file
    path.parent.mkdir(parents=True, exist_ok=True)
    with source, replacing(path) as target:
        shutil.copyfileobj(source, target)

"""MNIST and its relatives: four idx files each, wherever other programs put them.

Sources: Y. LeCun et al., 1998 (MNIST); H. Xiao et al., 2017 (Fashion-MNIST); T. Clanuwat et al., "Deep
learning for classical Japanese literature", 2018, https://arxiv.org/abs/1812.01718 (KMNIST); G. Cohen et al.,
"EMNIST: an extension of MNIST to handwritten letters", 2017, https://arxiv.org/abs/1702.05373.
"""

import hashlib
import string
from collections.abc import Callable, Sequence
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from xpnet.data import arrays, idx
from xpnet.data.dataset import Dataset, Examples, Preparation
from xpnet.data.find import exists
from xpnet.errors import DataError

FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
IMAGE = (28, 28)
UPPER, LOWER, DIGITS = string.ascii_uppercase, string.ascii_lowercase, string.digits
MERGED = (
    "abdefghnqrt"  # the small letters that EMNIST tells from capitals in its "balanced" and "bymerge" parts
)
LABELS_MD5 = {  # of the training labels: the files of all these sets have the same names
    "a25bea736e30d166cdddb491f175f624": "mnist",
    "9018921c3c673c538a1fc5bad174d6f9": "fashion-mnist",
}


class IdxSet(NamedTuple):
    """What is special in a data set of idx files.

    Fields:
        folders: where torchvision and others put the files, below the folder of all data sets.
        files: training images and labels, test images and labels.
        class_names: the name of each class, or empty.
        first: the label of the first class.
        transposed: the images lie on their side, and are turned upright.
    """

    folders: tuple[str, ...]
    files: tuple[str, ...] = FILES
    classes: int = 10
    class_names: tuple[str, ...] = ()
    first: int = 0
    transposed: bool = False


def emnist(part: str, names: str, first: int = 0) -> IdxSet:
    """A part of EMNIST."""
    files = [f"emnist-{part}-{file.replace('t10k', 'test')}" for file in FILES]
    folders = ("emnist", "EMNIST/raw", "EMNIST", "emnist/gzip", "gzip")
    return IdxSet(folders, tuple(files), len(names), tuple(names), first, transposed=True)


SETS = {
    "mnist": IdxSet(("MNIST/raw", "MNIST")),
    "fashion-mnist": IdxSet(("FashionMNIST/raw", "FashionMNIST", "fashion")),
    "kmnist": IdxSet(
        ("KMNIST/raw", "KMNIST"),
        class_names=("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),
    ),
    "emnist-balanced": emnist("balanced", DIGITS + UPPER + MERGED),
    "emnist-byclass": emnist("byclass", DIGITS + UPPER + LOWER),
    "emnist-bymerge": emnist("bymerge", DIGITS + UPPER + MERGED),
    "emnist-digits": emnist("digits", DIGITS),
    "emnist-letters": emnist("letters", UPPER, first=1),
    "emnist-mnist": emnist("mnist", DIGITS),
}


def load(name: str, folder: Path, fetch: Callable[[str], Path]) -> Dataset:
    """The data set of that name.

    Arguments:
        folder: of all data sets.
        fetch: called with the name of a file that is missing; gives its path.
    """
    kind = SETS[name]
    own = folder / name
    roots = [own, own / "raw", *(folder / other for other in kind.folders), folder, folder / "raw"]
    for root in roots:
        paths = [find(root, file) for file in kind.files]
        if all(paths):
            break
    else:
        paths = [find(own, file) for file in kind.files]
        for root in roots:
            if exists(root / f"{name}.npz"):  # as Keras keeps it
                return arrays.read(name, [root / f"{name}.npz"], None, 0.2)._replace(
                    class_names=kind.class_names
                )
    found = [path or fetch(file) for path, file in zip(paths, kind.files, strict=True)]
    return read(name, found)


def find(root: Path, file: str) -> Path | None:
    """The file of that name, gzipped or not, with a dot before "idx", or in a folder of its own name."""
    dotted = file.replace("-idx", ".idx")
    for name in (file, f"{file}.gz", dotted, f"{dotted}.gz"):
        path = root / name
        if exists(path) and not path.is_dir():
            return path
        for inner in (file, dotted, f"{file}.gz", f"{dotted}.gz"):
            if exists(path) and exists(path / inner):
                return path / inner
        if exists(path):
            return path  # a folder in its place, which reading tells
    return None


def read(name: str, paths: Sequence[Traversable]) -> Dataset:
    """The data set in these four files.

    Raises DataError where a file is unreadable or damaged, or where they are another set's files.
    """
    kind = SETS.get(name, SETS["mnist"])
    train_images, train_labels, test_images, test_labels = paths
    train, test = _examples(kind, train_images, train_labels), _examples(kind, test_images, test_labels)
    published = LABELS_MD5.get(hashlib.md5((train.y + kind.first).astype(">u1").tobytes()).hexdigest())
    notes = ("turned upright",) if kind.transposed else ()
    preparation = Preparation((*IMAGE, 1), transposed=kind.transposed)
    if published not in (None, name):
        raise DataError(f"{train_labels}: expected the labels of {name}, got those of {published}")
    return Dataset(name, train, test, kind.classes, kind.class_names, notes, preparation)


def _examples(kind: IdxSet, images_path: Traversable, labels_path: Traversable) -> Examples:
    images, labels = idx.read(images_path, IMAGE), idx.read(labels_path)
    if len(images) != len(labels):
        raise DataError(
            f"{labels_path}: expected a label for each of {len(images)} images in {images_path.name}, "
            f"got {len(labels)} labels"
        )
    last = kind.first + kind.classes - 1
    wrong = (labels < kind.first) | (labels > last)
    if wrong.any():
        i = int(wrong.argmax())
        raise DataError(f"{labels_path}: label {i}: expected {kind.first} to {last}, got {labels[i]}")
    if kind.transposed:
        images = images.transpose(0, 2, 1).copy()  # bytes, before they become four times as large
    x = images[..., np.newaxis].astype(np.float32)
    x /= 255
    return Examples(x, labels.astype(np.int64) - kind.first)

"""The data sets: bundled, drawn, downloaded, or read from CSV files."""

import importlib.resources
import os
from collections.abc import Sequence
from importlib.resources.abc import Traversable
from pathlib import Path

import numpy as np

from xpnet._util.choices import Choice
from xpnet.data import cifar, csv, idx, shapes
from xpnet.data.dataset import Dataset, Examples, Preparation
from xpnet.data.download import SOURCES, fetch, user_cache
from xpnet.errors import DataError

SAMPLE = "mnist-sample"
CSV_FORM = "csv:TRAIN.csv,TEST.csv with the label in the first column, or csv:TRAIN.csv,TEST.csv,label=last"
FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
IMAGE = (28, 28)
CLASSES = 10

Folder = str | os.PathLike[str] | None


def load(name: str, data_dir: Folder = None, download: bool = True) -> Dataset:
    """Load a data set as arrays that are C-contiguous and writable.

    Arguments:
        name: one of `DATASETS`, or a pair of CSV files:
            "mnist-sample", the first 3,000 training and 1,000 test images of MNIST, part of this package;
            "shapes", 2,000 training and 500 test pictures of shapes, (n, 32, 32, 3), drawn on demand;
            "mnist" or "fashion-mnist", four idx files, gzipped or not, in the folder `data_dir`/`name`;
            "cifar10", the six .bin files of the binary version in the folder `data_dir`/cifar10 or its
            subfolder cifar-10-batches-bin; missing ones are unpacked from cifar-10-binary.tar.gz;
            "csv:TRAIN.csv,TEST.csv", the label in the first column, or in the last with ",label=last"
            at the end; pixels 0 to 255 or 0 to 1; paths relative to the current folder, else to `data_dir`.
        data_dir: folder of the data sets; default `$XPNET_DATA`, else the user's cache.
        download: whether to download files that are missing there.

    Raises DataError where the name is unknown, or a file is missing, unreadable or damaged.

    (LeCun, Bottou, Bengio and Haffner, 1998, for MNIST; Xiao, Rasul and Vollgraf, 2017, for Fashion-MNIST;
    Krizhevsky, 2009, for CIFAR-10.)
    """
    if name.startswith("csv:"):
        return _load_csv(name, data_dir)
    if name not in DATASETS:
        raise DataError(f"no data set is called {name!r}: expected {', '.join(DATASETS)} or {CSV_FORM}")
    return DATASETS[name].make(name, data_dir, download)


def _load_sample(name: str, data_dir: Folder, download: bool) -> Dataset:
    sample = importlib.resources.files("xpnet.data") / SAMPLE
    return _read_idx(name, [sample / f"{file}.gz" for file in FILES])


def _draw_shapes(name: str, data_dir: Folder, download: bool) -> Dataset:
    train, test = Examples(*shapes.draw(2000, seed=0)), Examples(*shapes.draw(500, seed=1))
    names, preparation = shapes.CLASS_NAMES, Preparation((shapes.SIZE, shapes.SIZE, 3))
    return Dataset(name, train, test, len(names), names, preparation=preparation)


def _load_idx(name: str, data_dir: Folder, download: bool) -> Dataset:
    folder = _data_folder(data_dir) / name
    return _read_idx(name, [_find_idx(name, file, folder, download) for file in FILES])


def _read_idx(name: str, paths: Sequence[Traversable]) -> Dataset:
    train_images, train_labels, test_images, test_labels = paths
    train, test = _examples(train_images, train_labels), _examples(test_images, test_labels)
    return Dataset(name, train, test, CLASSES, preparation=Preparation((*IMAGE, 1)))


def _examples(images_path: Traversable, labels_path: Traversable) -> Examples:
    images, labels = idx.read(images_path, IMAGE), idx.read(labels_path)
    if len(images) != len(labels):
        raise DataError(
            f"{labels_path}: expected a label for each of {len(images)} images in {images_path.name}, "
            f"got {len(labels)} labels"
        )
    if labels.max() >= CLASSES:
        i = int((labels >= CLASSES).argmax())
        raise DataError(f"{labels_path}: label {i}: expected 0 to {CLASSES - 1}, got {labels[i]}")
    x = images[..., np.newaxis].astype(np.float32)
    x /= 255
    return Examples(x, labels.astype(np.int64))


def _load_csv(name: str, data_dir: Folder) -> Dataset:
    label: csv.Label
    match name.removeprefix("csv:").split(","):
        case [str(train), str(test)] | [str(train), str(test), "label=first"] if train and test:
            label = "first"
        case [str(train), str(test), "label=last"] if train and test:
            label = "last"
        case _:
            raise DataError(f"expected {CSV_FORM}, got {name!r}")
    train_xy, test_xy, classes = csv.read(_find_csv(train, data_dir), _find_csv(test, data_dir), label)
    return Dataset(name, Examples(*train_xy), Examples(*test_xy), classes)


def _data_folder(data_dir: Folder) -> Path:
    chosen = data_dir or os.environ.get("XPNET_DATA")
    return Path(os.path.expanduser(chosen)) if chosen else user_cache()


def _find_idx(name: str, file: str, folder: Path, download: bool) -> Path:
    for path in (folder / file, folder / f"{file}.gz"):
        if _exists(path):
            return path
    return _fetch(name, f"{file}.gz", folder, download, missing=f"{file}.gz")


def _load_cifar(name: str, data_dir: Folder, download: bool) -> Dataset:
    folder = _data_folder(data_dir) / name
    paths = [_find_cifar(file, folder) for file in (*cifar.TRAIN_FILES, cifar.TEST_FILE)]
    missing = [path for path in paths if not _exists(path)]
    if missing:
        archive = folder / cifar.ARCHIVE
        if not _exists(archive):
            _fetch(name, cifar.ARCHIVE, folder, download, missing=missing[0].name)
        cifar.unpack(archive, SOURCES[name].md5[cifar.ARCHIVE], missing)
    train, test = Examples(*cifar.read(paths[:-1])), Examples(*cifar.read(paths[-1:]))
    preparation = Preparation((32, 32, 3), planes=True)
    return Dataset(name, train, test, len(cifar.CLASS_NAMES), cifar.CLASS_NAMES, preparation=preparation)


def _find_cifar(file: str, folder: Path) -> Path:
    return folder / file if _exists(folder / file) else folder / cifar.UNPACKED / file


def _fetch(name: str, file: str, folder: Path, download: bool, missing: str) -> Path:
    """Download `file`. Without permission or success, raise DataError about the file `missing`."""
    problem = f"{folder}: {missing} is missing"
    way_out = (
        f"put the files of {name} there, or name the folder that has {name}/ in it "
        "with the --data-dir option or $XPNET_DATA"
    )
    if not download:
        raise DataError(f"{problem}: {way_out}")
    try:
        return fetch(name, file, folder)
    except DataError as error:
        raise DataError(f"{problem}, {error}: {way_out}") from error


def _find_csv(name: str, data_dir: Folder) -> Path:
    path = Path(os.path.expanduser(name))
    if path.is_absolute() or _exists(path):
        return path
    folder = _data_folder(data_dir)
    if _exists(folder / path):
        return folder / path
    raise DataError(
        f"{path}: no such file in {Path.cwd()} or in {folder}; "
        "the --data-dir option or $XPNET_DATA names another folder"
    )


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError as error:  # a parent folder cannot be entered
        raise DataError(f"{path}: {error.strerror}") from error


# A data set is one row: its name, what loads it, called with (name, data_dir, download), and its help.
# A row of `download.SOURCES` has the mirrors and checksums of one that can be downloaded.
DATASETS: dict[str, Choice[Dataset]] = {
    SAMPLE: Choice(_load_sample, "3,000 training and 1,000 test images of MNIST, bundled"),
    "shapes": Choice(_draw_shapes, "2,000 training and 500 test pictures of ten shapes, drawn on demand"),
    "mnist": Choice(_load_idx, "handwritten digits, 60,000 training and 10,000 test images"),
    "fashion-mnist": Choice(_load_idx, "clothes, 60,000 training and 10,000 test images"),
    "cifar10": Choice(_load_cifar, "colour photographs, 50,000 training and 10,000 test images"),
}

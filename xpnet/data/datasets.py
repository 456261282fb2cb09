"""The data sets: bundled, drawn, downloaded, read from files, or registered by a user."""

import importlib.resources
import inspect
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from xpnet._util.choices import Choice
from xpnet._util.files import replacing
from xpnet._util.text import similar
from xpnet.data import arrays, cifar, csv, folders, idx_sets, names, shapes
from xpnet.data.dataset import Dataset, Examples, Preparation
from xpnet.data.download import SOURCES, fetch
from xpnet.data.find import Folder, data_folder, exists, find
from xpnet.data.idx_sets import FILES
from xpnet.errors import ConfigError, DataError

SAMPLE = "mnist-sample"
CSV_FORM = "csv:TRAIN.csv,TEST.csv"
EMNIST = "gzip.zip"  # the archive of all its parts

Loader = Callable[..., Any]


def load(name: str, data_dir: Folder = None, download: bool = True, **options: Any) -> Dataset:
    """Load a data set as arrays that are C-contiguous and writable.

    Arguments:
        name: one of `DATASETS`, a name given to `register`, or files:
            "mnist-sample", the first 3,000 training and 1,000 test images of MNIST, part of this package;
            "shapes", 2,000 training and 500 test pictures of shapes, (n, 32, 32, 3), drawn on demand;
            "mnist", "fashion-mnist" or "kmnist", four idx files, gzipped or not, in the folder
            `data_dir`/`name`, `data_dir` itself, or where torchvision or Kaggle put them;
            "emnist-letters", "emnist-balanced", "emnist-byclass", "emnist-bymerge", "emnist-digits" or
            "emnist-mnist", likewise; their images are turned upright, the letters are classes from 0;
            "cifar10" or "cifar100", the .bin files of the binary version in the folder `data_dir`/`name` or
            its subfolder; or the files of the Python version, whose code is not run;
            "csv:TRAIN.csv,TEST.csv" or "csv:FILE.csv": see `csv.read`;
            "npz:FILE.npz" or "npy:X.npy,Y.npy,X_TEST.npy,Y_TEST.npy": see `arrays.read`;
            "folder:DIR", a folder of pictures for each class: see `folders.read`;
            "sklearn:digits", or "iris", "wine", "breast_cancer": part of scikit-learn.
            Paths are relative to the current folder, else to `data_dir`; a comma in one needs double quotes.
        data_dir: folder of the data sets; default `$XPNET_DATA`, else the user's cache.
        download: whether to download files that are missing there.
        options: of the files, also at the end of the name, "csv:FILE.csv,label=last,scale=16":
            label: the label column: its name in the header, "first", "last", or its number from 1;
            skip: a name or number of a column to leave out, or a list of them;
            scale: 255, 16 or another number to divide by, "none", or "standardize"; else the numbers decide;
            shape: "28x28", "32x32x3" or, with one channel after the other, "3x32x32": rows become images;
            header: "yes" or "no"; separator: "comma", "semicolon", "tab", "bar" or "space"; else found;
            test: the share of examples for the test where there are no test files, 0.2.

    Raises DataError where the name or an option is unknown, or a file is missing, unreadable or damaged.

    (LeCun, Bottou, Bengio and Haffner, 1998, for MNIST; Xiao, Rasul and Vollgraf, 2017, for Fashion-MNIST;
    Clanuwat et al., 2018, for KMNIST; Cohen et al., 2017, for EMNIST; Krizhevsky, 2009, for CIFAR.)
    """
    if not isinstance(name, str):
        raise DataError(f"expected the name of a data set, got {type(name).__name__}")
    kind, colon, rest = name.partition(":")
    if colon and kind in KINDS:
        named = names.parse(rest, KINDS[kind].form, KINDS[kind].options, options)
        return KINDS[kind].read(name, data_dir, named.files, named.options)
    known = DATASETS | REGISTERED
    if name not in known:
        raise DataError(_unknown(name))
    if options:
        raise DataError(f"{name}: expected no options, got {', '.join(options)}")
    return known[name].make(name, data_dir, download)


def register(name: str, loader: Loader) -> None:
    """Give a data set a name for `load` and, in the same process, for `train.Config(dataset=…)`.

    Arguments:
        name: letters, digits, "-", "_" and "."; a name that is registered already gets the new loader.
        loader: a function without arguments, or of some of `name`, `data_dir` and `download`. It returns a
            `Dataset`, or ((x, y), (x, y)): training and test inputs with their labels, which are then scaled
            like the numbers of a file.

    Raises ConfigError for the name of a data set of xpnet, or a loader with other arguments.
    """
    if not isinstance(name, str) or not name or set(name) & set(":,\"' ="):
        raise ConfigError(f"register: expected a name without colon, comma or blank, got {name!r}")
    if name in DATASETS:
        raise ConfigError(f"register: expected a new name, got {name!r}, a data set of xpnet")
    if not callable(loader):
        raise ConfigError(f"register: expected a function that returns a data set, got {loader!r}")
    wanted = _arguments(name, loader)

    def make(name: str, data_dir: Folder, download: bool) -> Dataset:
        given = {"name": name, "data_dir": data_dir, "download": download}
        return _made(name, loader(**{argument: given[argument] for argument in wanted}))

    REGISTERED[name] = Choice(make, "registered")


def _arguments(name: str, loader: Loader) -> list[str]:
    """Which of `name`, `data_dir` and `download` a loader takes."""
    parameters = inspect.signature(loader).parameters.values()
    known = ("name", "data_dir", "download")
    required = [
        p.name for p in parameters if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    ]
    unknown = [argument for argument in required if argument not in known]
    if unknown:
        raise ConfigError(
            f"register: expected a loader of name, data_dir and download, got {', '.join(unknown)}"
        )
    return [p.name for p in parameters if p.name in known]


def _made(name: str, found: Any) -> Dataset:
    """The data set that a loader returned. Raises DataError for anything else."""
    if isinstance(found, Dataset):
        for part, examples in (("train", found.train), ("test", found.test)):
            x, y = np.asarray(examples[0]), np.asarray(examples[1])
            if x.dtype.kind != "f" or y.dtype.kind not in "iu" or y.shape != x.shape[:1]:
                raise DataError(
                    f"{name}: expected {part} inputs (n, …) of floats and labels (n,) of integers, "
                    f"got {x.dtype} of shape {x.shape} and {y.dtype} of shape {y.shape}"
                )
            if len(y) and not 0 <= y.min() <= y.max() < found.classes:
                last, got = found.classes - 1, f"{y.min()} to {y.max()}"
                raise DataError(f"{name}: expected {part} labels from 0 to {last}, got {got}")
        train, test = (
            Examples(np.require(x, np.float32, ["C", "W"]), np.require(y, np.int64, ["C", "W"]))
            for x, y in (found.train, found.test)
        )
        return found._replace(name=name, train=train, test=test)
    try:
        (x, y), (test_x, test_y) = found
    except (TypeError, ValueError) as error:
        kind = type(found).__name__
        raise DataError(
            f"{name}: expected a Dataset or ((x, y), (x, y)) from its loader, got {kind}"
        ) from error
    return arrays.from_arrays(name, name, (x, y), (test_x, test_y))


def _unknown(name: str) -> str:
    """The message about a name that no data set has."""
    known = DATASETS | REGISTERED
    close = similar(name, known)
    kind = name.partition(":")[0] if ":" in name else ""
    forms = ", ".join(each.form for each in KINDS.values())
    hint = f"did you mean {' or '.join(close)}? " if close else ""
    if not close and (kinds := similar(kind, KINDS)):
        hint = f"did you mean {kinds[0]}:…? "
    elif Path(name).suffix in (".csv", ".npz", ".npy") or (not close and Path(name).exists()):
        kind = "folder" if Path(name).is_dir() else Path(name).suffix.removeprefix(".")
        hint = f"did you mean {kind if kind in KINDS else 'csv'}:{name}? "
    return f"no data set is called {name!r}: {hint}expected {', '.join(known)}, {forms}"


def _load_sample(name: str, data_dir: Folder, download: bool) -> Dataset:
    sample = importlib.resources.files("xpnet.data") / SAMPLE
    return idx_sets.read(name, [sample / f"{file}.gz" for file in FILES])


def _draw_shapes(name: str, data_dir: Folder, download: bool) -> Dataset:
    train, test = Examples(*shapes.draw(2000, seed=0)), Examples(*shapes.draw(500, seed=1))
    called, preparation = shapes.CLASS_NAMES, Preparation((shapes.SIZE, shapes.SIZE, 3))
    return Dataset(name, train, test, len(called), called, preparation=preparation)


def _load_idx(name: str, data_dir: Folder, download: bool) -> Dataset:
    folder = data_folder(data_dir)

    def missing(file: str) -> Path:
        if name.startswith("emnist"):
            return _of_emnist(file, folder, download)
        return _fetch(name, f"{file}.gz", folder / name, download, f"{file}.gz")

    return idx_sets.load(name, folder, missing)


def _of_emnist(file: str, folder: Path, download: bool) -> Path:
    """A file out of the archive of EMNIST, which is downloaded if it is not there."""
    own = folder / "emnist"
    archive = own / EMNIST
    if not exists(archive):
        _fetch("emnist", EMNIST, own, download, f"{file}.gz")
    path = own / f"{file}.gz"
    try:
        with zipfile.ZipFile(archive) as found, replacing(path) as target:
            target.write(found.read(f"gzip/{path.name}"))
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise DataError(f"{archive}: {path.name} cannot be unpacked ({error})") from error
    return path


def _load_cifar(name: str, data_dir: Folder, download: bool) -> Dataset:
    folder = data_folder(data_dir)

    def missing(archive: str, file: str) -> Path:
        return _fetch(name, archive, folder / name, download, file)

    return cifar.load(name, folder, missing, next(iter(SOURCES[name].md5.values())))


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


def _load_csv(name: str, data_dir: Folder, files: tuple[str, ...], options: dict[str, Any]) -> Dataset:
    if len(files) > 2:
        raise DataError(f"expected {KINDS['csv'].form}, got {name!r}")
    train, *test = (find(file, data_dir) for file in files)
    return csv.read(name, train, test[0] if test else None, csv.Options(**options))


def _load_arrays(name: str, data_dir: Folder, files: tuple[str, ...], options: dict[str, Any]) -> Dataset:
    paths = [find(file, data_dir) for file in files]
    return arrays.read(name, paths, options.get("scale"), options.get("test", 0.2))


def _load_folder(name: str, data_dir: Folder, files: tuple[str, ...], options: dict[str, Any]) -> Dataset:
    if len(files) != 1:
        raise DataError(f"expected {KINDS['folder'].form}, got {name!r}")
    shape = options["shape"][0] if "shape" in options else None
    return folders.read(name, find(files[0], data_dir), shape, options.get("test", 0.2))


def _load_sklearn(name: str, data_dir: Folder, files: tuple[str, ...], options: dict[str, Any]) -> Dataset:
    known = ("digits", "iris", "wine", "breast_cancer")
    which = files[0].replace("-", "_")
    if len(files) != 1 or which not in known:
        raise DataError(f"{name}: expected sklearn: with {', '.join(known)}")
    try:
        import sklearn.datasets  # late: seldom needed, and slow to import
    except ImportError as error:
        raise DataError(f"{name}: expected scikit-learn: pip install scikit-learn") from error
    found = getattr(sklearn.datasets, f"load_{which}")()
    x = found.images if which == "digits" else found.data
    called = tuple(map(str, found.target_names))
    pair, share = (x, found.target), options.get("test", 0.2)
    return arrays.from_arrays(name, name, pair, (None, None), options.get("scale"), share, called)


class Kind(NamedTuple):
    """A kind of data set in files: its reader, the form of its name, the options it takes, and its help."""

    read: Callable[[str, Folder, tuple[str, ...], dict[str, Any]], Dataset]
    form: str
    options: tuple[str, ...]
    help: str


KINDS = {
    "csv": Kind(
        _load_csv,
        f"{CSV_FORM} or csv:FILE.csv",
        tuple(names.OPTIONS),
        "rows of numbers with a label; with options: csv:a.csv,b.csv,label=last,scale=16,shape=28x28",
    ),
    "npz": Kind(
        _load_arrays, "npz:FILE.npz", ("scale", "test"), "arrays x_train, y_train, x_test and y_test"
    ),
    "npy": Kind(
        _load_arrays, "npy:X.npy,Y.npy", ("scale", "test"), "inputs and labels; those of a test after them"
    ),
    "folder": Kind(
        _load_folder, "folder:DIR", ("shape", "test"), "a folder of PNG or JPEG pictures for each class"
    ),
    "sklearn": Kind(_load_sklearn, "sklearn:digits", ("scale", "test"), "also iris, wine and breast_cancer"),
}

# A data set is one row: its name, what loads it, called with (name, data_dir, download), and its help.
# A row of `download.SOURCES` has the mirrors and checksums of one that can be downloaded.
DATASETS: dict[str, Choice[Dataset]] = {
    SAMPLE: Choice(_load_sample, "3,000 training and 1,000 test images of MNIST, bundled"),
    "shapes": Choice(_draw_shapes, "2,000 training and 500 test pictures of ten shapes, drawn on demand"),
    "mnist": Choice(_load_idx, "handwritten digits, 60,000 training and 10,000 test images"),
    "fashion-mnist": Choice(_load_idx, "clothes, 60,000 training and 10,000 test images"),
    "cifar10": Choice(_load_cifar, "colour photographs, 50,000 training and 10,000 test images"),
    "cifar100": Choice(
        _load_cifar, "colour photographs of 100 classes, 50,000 training and 10,000 test images"
    ),
    "kmnist": Choice(_load_idx, "handwritten Japanese syllables, 60,000 training and 10,000 test images"),
    "emnist-letters": Choice(_load_idx, "handwritten letters, 124,800 training and 20,800 test images"),
    "emnist-balanced": Choice(_load_idx, "digits and letters, 112,800 training and 18,800 test images"),
    "emnist-byclass": Choice(_load_idx, "digits and letters, 697,932 training and 116,323 test images"),
    "emnist-bymerge": Choice(_load_idx, "likewise, some capitals and small letters as one class"),
    "emnist-digits": Choice(_load_idx, "handwritten digits, 240,000 training and 40,000 test images"),
    "emnist-mnist": Choice(
        _load_idx, "MNIST from the sources of EMNIST, 60,000 training and 10,000 test images"
    ),
}
REGISTERED: dict[str, Choice[Dataset]] = {}  # by users


def choices() -> dict[str, Choice[Dataset]]:
    """All data sets and kinds of files, for help texts."""
    return DATASETS | REGISTERED | {each.form: Choice(each.read, each.help) for each in KINDS.values()}

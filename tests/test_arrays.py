"""Data sets of arrays: in NumPy's files, of scikit-learn, and those that a user registers."""

import contextlib

import numpy as np
import pytest

from data_files import check_arrays, fails
from xpnet import data, train
from xpnet.data import Dataset, Examples, datasets, load
from xpnet.errors import ConfigError, DataError

RNG = np.random.default_rng(0)
X = RNG.integers(0, 256, (30, 6, 5), np.uint8)
Y = np.arange(30) % 3
PARTS = (X[:20], Y[:20], X[20:], Y[20:])


def save(folder, **arrays):
    np.savez(folder / "a.npz", **arrays)
    return f"npz:{folder / 'a.npz'}"


NAMES = {
    "Keras": ("x_train", "y_train", "x_test", "y_test"),
    "MedMNIST": ("train_images", "train_labels", "test_images", "test_labels"),
    "capitals": ("X_train", "Y_train", "X_test", "Y_test"),
}


@pytest.mark.parametrize("names", NAMES)
def test_named_arrays(tmp_path, names):
    dataset = load(save(tmp_path, **dict(zip(NAMES[names], PARTS, strict=True))))
    check_arrays(dataset.train, (20, 6, 5, 1), 3)
    np.testing.assert_array_equal(dataset.test.x[..., 0], X[20:].astype(np.float32) / np.float32(255))
    np.testing.assert_array_equal(dataset.test.y, Y[20:])
    assert dataset.notes == ("numbers from 0 to 255, divided by 255",)


@pytest.mark.parametrize("count", [2, 4])
@pytest.mark.parametrize("suffix", ["npy", "npz"])
def test_a_file_for_each_array(tmp_path, count, suffix):
    """As KMNIST comes: one array in each file."""
    files = []
    for i, array in enumerate(PARTS[:count]):
        files.append(str(tmp_path / f"{i}.{suffix}"))
        (np.save if suffix == "npy" else np.savez)(files[-1], array)
    dataset = load(f"{suffix}:{','.join(files)}")
    assert (len(dataset.train.y), len(dataset.test.y)) == ((20, 10) if count == 4 else (16, 4))


def test_without_a_test_part(tmp_path):
    dataset = load(save(tmp_path, X=X, y=Y), test=0.5)
    assert np.bincount(dataset.train.y).tolist() == np.bincount(dataset.test.y).tolist() == [5, 5, 5]
    assert dataset.notes[0] == "no test file: 15 of 30 examples, drawn from all classes, are for the test"


FORMS = {
    "channels last": (RNG.integers(0, 256, (30, 6, 5, 3), np.uint8), (6, 5, 3)),
    "channels first": (RNG.integers(0, 256, (30, 3, 6, 5), np.uint8), (6, 5, 3)),
    "rows": (RNG.random((30, 4)), (4,)),
}


@pytest.mark.parametrize("form", FORMS)
def test_shapes(tmp_path, form):
    x, shape = FORMS[form]
    dataset = load(save(tmp_path, x_train=x, y_train=Y.astype(float), x_test=x, y_test=Y[:, None]))
    assert dataset.train.x.shape == (30, *shape)
    assert dataset.train.x.flags.c_contiguous
    if form == "channels first":
        np.testing.assert_allclose(dataset.train.x[3, 2, 4], x[3, :, 2, 4] / 255, rtol=1e-6)
    assert dataset.preparation.apply(x).tolist() == dataset.train.x.tolist()


def test_words_as_labels(tmp_path):
    words = np.array(["cat", "dog", "ant"])[Y]
    dataset = load(save(tmp_path, x_train=X[:20], y_train=words[:20], x_test=X[20:], y_test=words[20:]))
    assert dataset.class_names == ("ant", "cat", "dog")
    assert dataset.test.y.tolist() == [[1, 2, 0][label] for label in Y[20:]]


DAMAGE = {
    "pickled objects": (
        {"x_train": np.array([None]), "y_train": Y},
        "pickled objects, which could run any code",
    ),
    "other names": ({"a": X, "b": Y}, "expected arrays x_train, y_train, x_test and y_test, got a, b"),
    "few labels": (
        {"x": X, "y": Y[:9]},
        r"expected training labels, whole numbers \(30,\), got int64 of shape \(9,\)",
    ),
    "half labels": ({"x": X, "y": Y + 0.5}, "expected training labels, whole numbers"),
    "negative labels": ({"x": X, "y": Y - 1}, "expected labels of 0 or more, got -1"),
    "one axis": ({"x": Y, "y": Y}, "expected training inputs, numbers .n, …., got int64 of shape"),
    "words": ({"x": X.astype(str), "y": Y}, "expected training inputs, numbers"),
    "NaN": ({"x": X * np.nan, "y": Y}, "expected finite training inputs"),
    "other test shape": (
        {"x_train": X, "y_train": Y, "x_test": X[:, 1:], "y_test": Y},
        r"expected test inputs of shape \(6, 5\) each, got \(5, 5\)",
    ),
    "other test labels": (
        {"x_train": X, "y_train": Y, "x_test": X, "y_test": Y + 1},
        "expected test labels from 0 to 2, got 3",
    ),
    "other test scale": (
        {"x_train": X, "y_train": Y, "x_test": X / 255, "y_test": Y},
        "test part: expected numbers like those of the training part, 0 to 255, got 0 to 1: scaled",
    ),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_damaged_arrays(tmp_path, case):
    arrays, message = DAMAGE[case]
    with fails(f"a.npz.*{message}"):
        load(save(tmp_path, **arrays))


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x93NUMPY\x01\x00v\x00", b"text", b"\x80\x04\x95"])
@pytest.mark.parametrize("suffix", ["npy", "npz"])
def test_files_that_are_no_arrays(tmp_path, suffix, content):
    (tmp_path / f"a.{suffix}").write_bytes(content)
    with fails(rf"a.{suffix}: expected arrays of numbers, got (a damaged file|pickled objects)"):
        load(f"{suffix}:{tmp_path / f'a.{suffix}'}")


def test_damage_anywhere(tmp_path):
    """One byte is wrong: the file can still be read, or a line says that it cannot."""
    name = save(tmp_path, x_train=X[:20, :2, :2], y_train=Y[:20])
    path = tmp_path / "a.npz"
    whole = path.read_bytes()
    for i in range(0, len(whole), 7):
        path.write_bytes(whole[:i] + bytes([whole[i] ^ 0x55]) + whole[i + 1 :])
        with contextlib.suppress(DataError):
            load(name)


def test_names_that_are_no_files(tmp_path):
    with fails("expected one file, or two or four, got 3"):
        np.save(tmp_path / "a.npy", Y)
        load(f"npy:{','.join([str(tmp_path / 'a.npy')] * 3)}")
    with fails("none.npz: no such file"):
        load("npz:none.npz")
    with fails("expected one array, got a, b"):
        save(tmp_path, a=X, b=Y)
        load(f"npz:{tmp_path / 'a.npz'},{tmp_path / 'a.npz'}")


def test_scikit_learn():
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    for name, columns in (("iris", 4), ("wine", 13), ("breast-cancer", 30)):
        dataset = load(f"sklearn:{name}")
        assert dataset.train.x.shape[1:] == (columns,)
        assert len(dataset.class_names) == dataset.classes
        assert abs(dataset.train.x.mean()) < 1e-6
    with fails("sklearn:mnist: expected sklearn: with digits, iris, wine, breast_cancer"):
        load("sklearn:mnist")


def test_scikit_learn_is_not_installed(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "sklearn.datasets", None)
    with fails("sklearn:iris: expected scikit-learn: pip install scikit-learn"):
        load("sklearn:iris")


# Registered data sets


@pytest.fixture(autouse=True)
def _registry(monkeypatch):
    monkeypatch.setattr(datasets, "REGISTERED", {})


EXAMPLES = Examples(X[..., None].astype(np.float64) / 255, Y.astype(np.int32))
LOADERS = {
    "a data set": lambda: Dataset("any", EXAMPLES, EXAMPLES, 3),
    "arguments": lambda name, data_dir, download: Dataset(
        f"{name}{data_dir}{download}", EXAMPLES, EXAMPLES, 3
    ),
    "one argument": lambda data_dir: Dataset("any", EXAMPLES, EXAMPLES, 3),
    "a default": lambda size=3: Dataset("any", EXAMPLES, EXAMPLES, size),
    "pairs of arrays": lambda: ((X, Y), (X, Y)),
}


@pytest.mark.parametrize("loader", LOADERS)
def test_registered_data_set(tmp_path, loader):
    data.register("mine", LOADERS[loader])
    dataset = load("mine", tmp_path)
    assert (dataset.name, dataset.classes) == ("mine", 3)
    check_arrays(dataset.train, (30, 6, 5, 1), 3)
    assert "mine" in datasets.choices()
    data.register("mine", LOADERS["a data set"])  # again, as in a notebook


def test_a_run_of_a_registered_data_set(tmp_path):
    data.register("mine", LOADERS["a data set"])
    config = train.Config(dataset="mine", hidden=(4,), epochs=1, quiet=True, output_dir=str(tmp_path / "run"))
    assert train.run(config)["dataset"] == "mine"


@pytest.mark.parametrize(
    ("name", "loader", "message"),
    [
        ("mnist", LOADERS["a data set"], "register: expected a new name, got 'mnist', a data set of xpnet"),
        ("a:b", LOADERS["a data set"], "register: expected a name without colon"),
        ("", LOADERS["a data set"], "register: expected a name"),
        (3, LOADERS["a data set"], "register: expected a name"),
        ("mine", None, "register: expected a function that returns a data set, got None"),
        ("mine", lambda x: x, "register: expected a loader of name, data_dir and download, got x"),
    ],
)
def test_what_is_not_registered(name, loader, message):
    with fails(message, ConfigError):
        data.register(name, loader)


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (None, "mine: expected a Dataset or ((x, y), (x, y)) from its loader, got NoneType"),
        ((X, Y), "mine: expected a Dataset or"),
        (((X, Y[:3]), (X, Y)), "mine: expected training labels"),
        (Dataset("a", EXAMPLES, EXAMPLES, 2), "mine: expected train labels from 0 to 1, got 0 to 2"),
        (Dataset("a", Examples(X, Y), EXAMPLES, 3), "mine: expected train inputs (n, …) of floats"),
    ],
)
def test_loaders_that_return_something_else(found, message):
    data.register("mine", lambda: found)
    with fails(message.replace("(", r"\(").replace(")", r"\)")):
        load("mine")

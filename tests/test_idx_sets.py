"""MNIST and its relatives, in the names and folders that other programs give them."""

import gzip
import hashlib
import zipfile
from pathlib import Path

import numpy as np
import pytest

from data_files import fails, idx_bytes, small_files, write
from xpnet.data import datasets, download, idx_sets, load

FILES = datasets.FILES


def put(folder: Path, files: dict[str, bytes]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)


NAMES = {
    "as published": str,
    "a dot": lambda name: name.replace("-idx", ".idx"),
}
FOLDERS = {
    "mnist": "mnist",
    "the folder itself": ".",
    "raw": "raw",
    "torchvision": "MNIST/raw",
    "torchvision's own folder": "MNIST",
    "mnist/raw": "mnist/raw",
}


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("names", NAMES)
@pytest.mark.parametrize("folder", FOLDERS)
def test_where_files_are_found(tmp_path, folder, names, zipped):
    files = {NAMES[names](file): content for file, content in small_files().items()}
    if zipped:
        files = {f"{file}.gz": gzip.compress(content) for file, content in files.items()}
    put(tmp_path / FOLDERS[folder], files)
    assert len(load("mnist", tmp_path, download=False).train.y) == 3


@pytest.mark.parametrize("inner", ["-idx", ".idx"])
@pytest.mark.parametrize("outer", ["-idx", ".idx"])
def test_a_folder_around_each_file(tmp_path, inner, outer):
    for file, content in small_files().items():
        put(tmp_path / "mnist" / file.replace("-idx", outer), {file.replace("-idx", inner): content})
    assert len(load("mnist", tmp_path, download=False).train.y) == 3


def test_a_complete_folder_comes_before_a_partial_one(tmp_path):
    """The files of one folder belong together: those of two may be of two data sets."""
    files = small_files(train=4)
    put(tmp_path / "mnist", dict(list(files.items())[:3]))
    put(tmp_path / "MNIST/raw", small_files(train=5))
    assert len(load("mnist", tmp_path, download=False).train.y) == 5
    put(tmp_path / "mnist", files)
    assert len(load("mnist", tmp_path, download=False).train.y) == 4


@pytest.mark.parametrize(
    ("name", "folder"), [("fashion-mnist", "FashionMNIST/raw"), ("kmnist", "KMNIST/raw")]
)
def test_folders_of_torchvision(tmp_path, name, folder):
    put(tmp_path / folder, small_files())
    assert len(load(name, tmp_path, download=False).train.y) == 3


def test_the_files_of_another_set_are_named(tmp_path, monkeypatch):
    """All these sets have files of the same names."""
    files = small_files()
    write(tmp_path, files)
    labels = hashlib.md5(files[FILES[1]][8:]).hexdigest()
    monkeypatch.setitem(idx_sets.LABELS_MD5, labels, "fashion-mnist")
    with fails("train-labels-idx1-ubyte: expected the labels of mnist, got those of fashion-mnist"):
        load("mnist", tmp_path)
    monkeypatch.setitem(idx_sets.LABELS_MD5, labels, "mnist")
    assert len(load("mnist", tmp_path).train.y) == 3


@pytest.mark.parametrize("folder", [".", "mnist"])
def test_the_file_of_keras(tmp_path, folder):
    (tmp_path / folder).mkdir(exist_ok=True)
    x, y = np.random.default_rng(0).integers(0, 256, (20, 28, 28), np.uint8), np.arange(20) % 10
    np.savez(tmp_path / folder / "mnist.npz", x_train=x, y_train=y, x_test=x[:10], y_test=y[:10])
    dataset = load("mnist", tmp_path, download=False)
    assert dataset.train.x.shape == (20, 28, 28, 1)
    assert dataset.classes == 10


# EMNIST


def emnist(part: str, first: int = 1, last: int = 26) -> tuple[dict[str, bytes], np.ndarray, np.ndarray]:
    """The four files of a part, upright training images and labels."""
    rng = np.random.default_rng(0)
    upright = rng.integers(0, 256, (30, 28, 28), np.uint8)
    labels = np.resize(np.arange(first, last + 1, dtype=np.uint8), 30)
    lying = upright.transpose(0, 2, 1).copy()
    files = {}
    for where, chosen in (("train", slice(20)), ("test", slice(20, 30))):
        files[f"emnist-{part}-{where}-images-idx3-ubyte"] = idx_bytes(lying[chosen])
        files[f"emnist-{part}-{where}-labels-idx1-ubyte"] = idx_bytes(labels[chosen])
    return files, upright[:20], labels[:20]


@pytest.mark.parametrize("folder", ["emnist", "EMNIST/raw", "emnist-letters", "gzip", "."])
def test_letters_are_upright_and_count_from_0(tmp_path, folder):
    files, upright, labels = emnist("letters")
    put(tmp_path / folder, files)
    dataset = load("emnist-letters", tmp_path, download=False)
    np.testing.assert_array_equal(dataset.train.x[..., 0], upright.astype(np.float32) / np.float32(255))
    np.testing.assert_array_equal(dataset.train.y, labels - 1)
    assert dataset.class_names[0] == "A"
    assert dataset.classes == 26
    assert "turned upright" in dataset.notes


def test_letters_of_another_range(tmp_path):
    put(tmp_path, emnist("letters", first=0)[0])
    with fails("emnist-letters-train-labels-idx1-ubyte: label 0: expected 1 to 26, got 0"):
        load("emnist-letters", tmp_path)


@pytest.mark.parametrize(
    ("part", "classes", "names"),
    [("balanced", 47, "09AZat"), ("bymerge", 47, "09AZat"), ("byclass", 62, "09AZaz"), ("digits", 10, "09")],
)
def test_classes_of_emnist(tmp_path, part, classes, names):
    put(tmp_path / "emnist", emnist(part, 0, classes - 1)[0])
    dataset = load(f"emnist-{part}", tmp_path, download=False)
    assert len(dataset.class_names) == dataset.classes == classes
    assert all(name in dataset.class_names for name in names)
    assert dataset.class_names[0] + dataset.class_names[-1] == names[0] + names[-1]


def test_emnist_out_of_its_archive(tmp_path):
    files, _, labels = emnist("letters")
    (tmp_path / "emnist").mkdir()
    with zipfile.ZipFile(tmp_path / "emnist" / "gzip.zip", "w") as archive:
        for name, content in files.items():
            archive.writestr(f"gzip/{name}.gz", gzip.compress(content))
    for _ in range(2):
        np.testing.assert_array_equal(load("emnist-letters", tmp_path, download=False).train.y, labels - 1)
    with fails("gzip.zip: emnist-digits-train-images-idx3-ubyte.gz cannot be unpacked"):
        load("emnist-digits", tmp_path, download=False)


def test_emnist_is_downloaded_as_one_archive(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(datasets, "fetch", lambda *arguments: asked.append(arguments) or tmp_path)
    with fails("gzip.zip: emnist-mnist-train-images-idx3-ubyte.gz cannot be unpacked"):
        load("emnist-mnist", tmp_path)
    assert asked == [("emnist", "gzip.zip", tmp_path / "emnist")]
    assert list(download.SOURCES["emnist"].md5) == ["gzip.zip"]
    with fails("emnist: emnist-mnist-train-images-idx3-ubyte.gz is missing: put the files of emnist there"):
        load("emnist-mnist", tmp_path, download=False)

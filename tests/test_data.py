"""Data sets in idx files: which ones load, and the error for every kind of damage."""

import hashlib
import os
import re
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from data_files import check_arrays, fails, idx_bytes, small_files, write
from xpnet.data import Dataset, datasets, load
from xpnet.errors import DataError

TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS = datasets.FILES


@pytest.fixture(autouse=True)
def _nothing_of_the_user(monkeypatch, tmp_path):
    monkeypatch.delenv("XPNET_DATA", raising=False)
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda project: tmp_path / "cache" / project)


# Files that load


def test_sample_is_the_beginning_of_mnist():
    dataset = load("mnist-sample", download=False)
    assert isinstance(dataset, Dataset)
    assert dataset.name == "mnist-sample"
    assert dataset.classes == 10
    check_arrays(dataset.train, (3000, 28, 28, 1), 10)
    check_arrays(dataset.test, (1000, 28, 28, 1), 10)
    assert dataset.train.y[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert dataset.test.y[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    assert dataset.train.x.max() == dataset.test.x.max() == 1
    digest = hashlib.md5(np.round(dataset.train.x * 255).astype(np.uint8).tobytes()).hexdigest()
    assert digest == "366545fe9b522b1b4bdaf9d83a506e7d"


def test_sample_is_small_and_its_bytes_do_not_depend_on_the_time():
    files = list((Path(datasets.__file__).parent / "mnist-sample").iterdir())
    assert sorted(file.name for file in files) == sorted(f"{file}.gz" for file in datasets.FILES)
    assert sum(file.stat().st_size for file in files) < 1_000_000
    assert all(file.read_bytes()[4:8] == bytes(4) for file in files)


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
@pytest.mark.parametrize("zipped", [False, True])
def test_idx_files(tmp_path, name, zipped):
    files = small_files()
    write(tmp_path, files, name, zipped)
    dataset = load(name, tmp_path, download=False)
    assert (dataset.name, dataset.classes) == (name, 10)
    check_arrays(dataset.train, (3, 28, 28, 1), 10)
    check_arrays(dataset.test, (2, 28, 28, 1), 10)
    pixels = np.frombuffer(files[TEST_IMAGES][16:], np.uint8).reshape(2, 28, 28, 1)
    np.testing.assert_array_equal(dataset.test.x, pixels.astype(np.float32) / np.float32(255))
    assert dataset.test.y.tolist() == [3, 4]


def test_folder_is_data_dir_then_the_variable_then_the_cache(tmp_path, monkeypatch):
    def count(data_dir=None):
        return len(load("mnist", data_dir, download=False).train.y)

    with fails(r"cache.xpnet.mnist: train-images-idx3-ubyte.gz is missing"):
        count()
    write(tmp_path / "cache" / "xpnet", small_files(train=3))
    assert count() == 3
    write(tmp_path / "variable", small_files(train=4), zipped=True)
    monkeypatch.setenv("XPNET_DATA", str(tmp_path / "variable"))
    assert count() == 4
    write(tmp_path / "option", small_files(train=5))
    assert count(tmp_path / "option") == count(str(tmp_path / "option")) == 5
    monkeypatch.setenv("HOME", str(tmp_path))
    assert count("~/option") == 5


def test_pooch_is_imported_only_when_needed(tmp_path):
    write(tmp_path, small_files())
    code = (
        "import sys; from xpnet.data import load; load('mnist-sample'); load('mnist', sys.argv[1]); "
        "from xpnet.backend import _numba; next(_numba._folders()); "
        "assert 'pooch' not in sys.modules and 'requests' not in sys.modules"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", code, tmp_path], check=True, env=environment)


def test_a_name_with_a_line_break_is_still_one_line():
    with fails(r"^a b\.csv: no such file"):
        load("csv:a\nb.csv,c.csv")


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("minst", "mnist"),
        ("fashion_mnist", "fashion-mnist"),
        ("MNIST", "mnist"),
        ("emnist", "emnist"),
        ("cifar-10", "cifar10"),
        ("train.csv", "csv:train.csv"),
        ("data/mnist.npz", "npz:data/mnist.npz"),
        ("cvs:a.csv", "csv:…"),
        (".", "folder:."),
    ],
)
def test_unknown_name(name, meant):
    with fails(
        f"^no data set is called '{name}': did you mean {meant}.*expected mnist-sample, shapes, mnist, .*csv:"
    ):
        load(name)


def test_names_of_another_kind():
    with fails("expected the name of a data set, got int"):
        load(3)
    with fails("mnist-sample: expected no options, got label"):
        load("mnist-sample", label="last")
    with fails("no data set is called 'quux': expected mnist-sample"):
        load("quux")


# Damaged idx files


def header(*numbers):
    return b"".join(number.to_bytes(4, "big") for number in numbers)


HUGE = 2**32 - 1
IDX_DAMAGE = {
    "empty": (TRAIN_IMAGES, lambda b: b"", "expected an idx file, got an empty file"),
    "labels as images": (
        TRAIN_IMAGES,
        lambda b: idx_bytes(np.zeros(3, np.uint8)),
        r"byte 0: expected the magic number 0x00000803 .*3\), got 0x00000801",
    ),
    "images as labels": (TRAIN_LABELS, lambda b: small_files()[TRAIN_IMAGES], "0x00000801 .* got 0x00000803"),
    "another format": (TRAIN_IMAGES, lambda b: b"\x89PNG" + b, "magic number .* got 0x89504e47"),
    "type code": (TEST_LABELS, lambda b: b"\0\0\x0d" + b[3:], "magic number .* got 0x00000d01"),
    "little-endian": (TRAIN_LABELS, lambda b: b[3::-1] + b[4:], "magic number .* got 0x01080000"),
    "header cut": (TRAIN_IMAGES, lambda b: b[:13], "truncated: expected a header of 16 bytes, got 13"),
    "data cut": (
        TRAIN_IMAGES,
        lambda b: b[:-1],
        "truncated: expected 2368 bytes for 3 x 28 x 28, got 2367",
    ),
    "trailing": (TRAIN_LABELS, lambda b: b + b"\n", "expected the end at byte 11 after 3, got more bytes"),
    "image size": (
        TEST_IMAGES,
        lambda b: idx_bytes(np.zeros((2, 32, 28), np.uint8)),
        "byte 8: expected items of size 28 x 28, got 32 x 28",
    ),
    "no images": (TRAIN_IMAGES, lambda b: idx_bytes(np.zeros((0, 28, 28), np.uint8)), "at least one item"),
    "no labels": (
        TEST_LABELS,
        lambda b: idx_bytes(np.zeros(0, np.uint8)),
        "byte 4: .*at least one item, got 0",
    ),
    "fewer labels": (
        TRAIN_LABELS,
        lambda b: idx_bytes(np.zeros(2, np.uint8)),
        "expected a label for each of 3 images in train-images-idx3-ubyte.*, got 2 labels",
    ),
    "label range": (TRAIN_LABELS, lambda b: b[:-1] + b"\x0a", "label 2: expected 0 to 9, got 10"),
    "huge count": (TRAIN_IMAGES, lambda b: b[:4] + header(HUGE) + b[8:], f"expected {HUGE * 784 + 16} bytes"),
    "huge labels": (TRAIN_LABELS, lambda b: b[:4] + header(HUGE) + b[8:], f"expected {HUGE + 8} bytes"),
    "overflow": (TRAIN_IMAGES, lambda b: b[:4] + header(HUGE, HUGE, HUGE) + b[16:], f"got {HUGE} x {HUGE}"),
}


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("case", IDX_DAMAGE)
def test_damaged_idx_file(tmp_path, case, zipped):
    file, damage, message = IDX_DAMAGE[case]
    files = small_files()
    folder = write(tmp_path, files | {file: damage(files[file])}, zipped=zipped)
    name = f"{file}.gz" if zipped else file
    tracemalloc.start()
    try:
        with fails(f"^{re.escape(str(folder / name))}: .*{message}"):
            load("mnist", tmp_path)
        assert tracemalloc.get_traced_memory()[1] < 5e6
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("file", [TRAIN_IMAGES, TEST_LABELS])
def test_idx_file_cut_off_anywhere(tmp_path, file, zipped):
    files = small_files(train=1)
    folder = write(tmp_path, files, zipped=zipped)
    path = folder / (f"{file}.gz" if zipped else file)
    whole = path.read_bytes()
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        expected = "damaged gzip stream after" if zipped else "truncated|got 0x" if size else "empty file"
        with fails(rf"{path.name}: .*({expected})") if size else fails("empty file"):
            load("mnist", tmp_path)


def test_gzip_damage(tmp_path):
    files = small_files()
    folder = write(tmp_path, files, zipped=True)
    path = folder / f"{TRAIN_IMAGES}.gz"
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    good = load("mnist", tmp_path)
    messages = []
    for _ in range(300):
        damaged = bytearray(whole)
        damaged[rng.integers(len(whole))] ^= 1 << rng.integers(8)
        path.write_bytes(damaged)
        try:
            dataset = load("mnist", tmp_path)
        except DataError as error:
            messages.append(str(error))
        else:  # the time and name in the gzip header do not matter
            np.testing.assert_array_equal(dataset.train.x, good.train.x)
    assert len(messages) > 270
    for message in messages:
        assert re.fullmatch(rf"{re.escape(str(path))}: damaged gzip stream after \d+ bytes: .+", message)
    path.write_bytes(files[TRAIN_IMAGES])
    with fails("damaged gzip stream after 0 bytes: Not a gzipped file"):
        load("mnist", tmp_path)
    path.write_bytes(whole + b"more")
    with fails("damaged gzip stream after 2368 bytes"):
        load("mnist", tmp_path)


def test_gzip_bomb_is_not_unpacked(tmp_path):
    files = small_files()
    write(tmp_path, files | {TRAIN_IMAGES: files[TRAIN_IMAGES] + bytes(50_000_000)}, zipped=True)
    tracemalloc.start()
    try:
        with fails("expected the end at byte 2368 after 3 x 28 x 28, got more bytes"):
            load("mnist", tmp_path)
        assert tracemalloc.get_traced_memory()[1] < 5e6
    finally:
        tracemalloc.stop()


# Missing and unreadable files


def test_folder_in_the_place_of_a_file(tmp_path):
    folder = write(tmp_path, small_files())
    (folder / TEST_LABELS).unlink()
    (folder / TEST_LABELS).mkdir()
    with fails("t10k-labels-idx1-ubyte: Is a directory"):
        load("mnist", tmp_path)
    with fails("mnist: Is a directory"):
        load(f"csv:{folder},{folder}")


def test_permission_denied(tmp_path, monkeypatch):
    def denied(path, *args, **kwargs):
        raise PermissionError(13, "Permission denied", str(path))

    write(tmp_path, small_files())
    (tmp_path / "a.csv").write_text("0,1\n1,0\n")
    for method, path in (("open", tmp_path / "a.csv"), ("exists", "a.csv")):
        with monkeypatch.context() as patch:
            patch.setattr(Path, method, denied)
            with fails("train-images-idx3-ubyte: Permission denied"):
                load("mnist", tmp_path, download=False)
            with fails("a.csv: Permission denied"):
                load(f"csv:{path},{path}")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_permission_denied_by_the_system(tmp_path):
    folder = write(tmp_path, small_files())
    (folder / TRAIN_LABELS).chmod(0)
    with fails("train-labels-idx1-ubyte: Permission denied"):
        load("mnist", tmp_path)
    folder.chmod(0)
    try:
        with fails("Permission denied"):
            load("mnist", tmp_path)
    finally:
        folder.chmod(0o700)
    (tmp_path / "read-only").mkdir(mode=0o500)
    with fails("read-only.mnist: .* cannot be written there .Permission denied."):
        load("mnist", tmp_path / "read-only")

"""Data sets of pictures, a folder for each class."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_files import check_arrays, fails
from xpnet.data import folders, load


def put(
    folder: Path, classes: str = "ab", number: int = 10, shape: tuple[int, ...] = (5, 6), suffix: str = "png"
) -> None:
    rng = np.random.default_rng(0)
    for label, name in enumerate(classes):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for i in range(number):
            pixels = rng.integers(0, 100, shape, np.uint8) + np.uint8(100 * label)
            Image.fromarray(pixels).save(folder / name / f"{i}.{suffix}")


@pytest.mark.parametrize("suffix", ["png", "jpg", "JPEG", "bmp", "tif"])
@pytest.mark.parametrize(("shape", "example"), [((5, 6), (5, 6, 1)), ((5, 6, 3), (5, 6, 3))])
def test_pictures(tmp_path, suffix, shape, example):
    put(tmp_path, shape=shape, suffix=suffix)
    dataset = load(f"folder:{tmp_path}")
    check_arrays(dataset.train, (16, *example), 2)
    check_arrays(dataset.test, (4, *example), 2)
    np.testing.assert_array_equal(dataset.train.x.mean(axis=(1, 2, 3)) > 0.4, dataset.train.y)
    assert np.bincount(dataset.test.y).tolist() == [2, 2]
    assert dataset.class_names == ("a", "b")
    assert 0 < dataset.train.y[:12].sum() < 12  # shuffled: the first-80% split sees all classes


@pytest.mark.parametrize(("train", "test"), [("train", "test"), ("training", "testing"), ("Train", "val")])
def test_training_and_test_folders(tmp_path, train, test):
    put(tmp_path / train, number=8)
    put(tmp_path / test, number=3)
    (tmp_path / train / ".DS_Store").write_bytes(b"")
    (tmp_path / train / "notes.txt").write_text("no class")
    (tmp_path / train / "a" / "Thumbs.db").write_bytes(b"no picture")
    dataset = load(f"folder:{tmp_path}")
    assert (len(dataset.train.y), len(dataset.test.y)) == (16, 6)
    assert 0 < dataset.train.y[:8].sum() < 8
    put(tmp_path / test, classes="c", number=1)
    with fails(f"{test}.c: expected a class that .*{train} has"):
        load(f"folder:{tmp_path}")


def test_pixels_are_those_of_the_file(tmp_path):
    put(tmp_path, classes="ab", number=2)
    dataset = load(f"folder:{tmp_path}", test=0.5)
    pixels = {tuple(np.asarray(Image.open(path)).ravel()) for path in tmp_path.rglob("*.png")}
    found = np.concatenate([dataset.train.x, dataset.test.x])
    assert {tuple((image.ravel() * 255).round().astype(int)) for image in found} == pixels


def test_classes_and_files_are_in_the_order_of_their_numbers(tmp_path):
    for name in ("10", "2", "1"):
        put(tmp_path, classes=[name], number=2)
    assert load(f"folder:{tmp_path}", test=0.5).class_names == ("1", "2", "10")
    names = ["b2", "b10", "a", "1", "b1"]
    assert sorted(names, key=folders.in_order) == ["1", "a", "b1", "b2", "b10"]


def test_other_sizes_are_refused_or_resized(tmp_path):
    put(tmp_path)
    put(tmp_path, number=1, shape=(8, 6))
    with fails(
        r"0.png: expected (5x6|8x6) pixels as the others, got .*: shape=\dx6x1 brings all to one size"
    ):
        load(f"folder:{tmp_path}")
    assert load(f"folder:{tmp_path},shape=4x4").train.x.shape == (16, 4, 4, 1)
    assert load(f"folder:{tmp_path}", shape=(4, 4, 3)).train.x.shape == (16, 4, 4, 3)


MODES = {
    "palette": lambda: Image.fromarray(np.full((5, 6), 200, np.uint8)).convert("P"),
    "black and white": lambda: Image.fromarray(np.full((5, 6), 255, np.uint8)).convert("1"),
    "transparent": lambda: Image.fromarray(np.zeros((5, 6, 4), np.uint8)),
    "16 bits": lambda: Image.fromarray(np.full((5, 6), 65535, np.uint16)),
    "CMYK": lambda: Image.new("CMYK", (6, 5)),
}


@pytest.mark.parametrize("mode", MODES)
def test_modes_of_pictures(tmp_path, mode):
    """All become grey or RGB; what is transparent is white."""
    suffix = "tif" if mode == "CMYK" else "png"
    for name in "ab":
        (tmp_path / name).mkdir()
        for i in range(2):
            MODES[mode]().save(tmp_path / name / f"{i}.{suffix}")
    dataset = load(f"folder:{tmp_path}", test=0.5)
    assert dataset.train.x.shape == (2, 5, 6, 1)
    assert dataset.train.x.min() == dataset.train.x.max() >= 200 / 255


def test_folders_that_hold_no_data_set(tmp_path):
    with fails("none: no such file"):
        load("folder:none")
    with fails(f"{tmp_path}: expected a folder for each class, got 0 with pictures"):
        load(f"folder:{tmp_path}")
    put(tmp_path, classes="a")
    with fails(f"{tmp_path}: expected a folder for each class, got 1 with pictures"):
        load(f"folder:{tmp_path}")
    put(tmp_path, classes="b")
    (tmp_path / "a" / "3.png").write_bytes((tmp_path / "a" / "3.png").read_bytes()[:50])
    with fails("3.png: expected a picture, got a damaged file"):
        load(f"folder:{tmp_path}")
    with fails("expected folder:DIR, got"):
        load(f"folder:{tmp_path},{tmp_path}")
    with fails("no option is called 'label' in .*expected shape, test after the files"):
        load(f"folder:{tmp_path},label=a")
    (tmp_path / "file").write_text("")
    with fails("file: Not a directory"):
        load(f"folder:{tmp_path / 'file'}")


def test_too_many_pixels_are_told_before_they_fill_the_memory(tmp_path):
    put(tmp_path)
    with fails("20 pictures of .* need|16 pictures of 9000x9000x3 need 15.6 GB: make them smaller"):
        load(f"folder:{tmp_path},shape=9000x9000x3")

"""Inputs to predict from: prepared as those of the training, with or without labels."""

import numpy as np
import pytest
from PIL import Image

from data_files import fails, idx_bytes
from xpnet.data import Preparation, load
from xpnet.data.dataset import Dataset
from xpnet.data.inputs import Inputs, Reader

X = np.random.default_rng(0).integers(0, 256, (30, 4))
X[0, 0] = 255
Y = np.arange(30) % 3


def write(path, *columns, header=""):
    lines = zip(*(np.asarray(each).reshape(len(each), -1).tolist() for each in columns), strict=True)
    path.write_text(
        header + "".join(",".join(str(each) for part in line for each in part) + "\n" for line in lines)
    )
    return path


def read(path, preparation, **options) -> Inputs:
    return Reader(preparation, largest=1.0, **options).read([path])


def trained(folder, header="", options="") -> Dataset:
    path = write(folder / "train.csv", Y, X, header=header)
    return load(f"csv:{path},{path}{options}")


@pytest.mark.parametrize("header", ["", "label,a,b,c,d\n"])
def test_rows_with_and_without_labels(tmp_path, header):
    dataset = trained(tmp_path, header)
    for given, head in (((X,), header.removeprefix("label,")), ((Y, X), header)):
        found = read(write(tmp_path / "new.csv", *given, header=head), dataset.preparation)
        np.testing.assert_array_equal(found.x, dataset.train.x)
        assert found.names[:2] == ["1", "2"]


def test_columns_go_by_name(tmp_path):
    dataset = trained(tmp_path, "label,a,b,c,d\n")
    ids = np.arange(30) + 100
    new = write(tmp_path / "new.csv", ids, X[:, ::-1], Y, header="Id,d,c,b,a,word\n")
    found = read(new, dataset.preparation)
    np.testing.assert_array_equal(found.x, dataset.train.x)
    assert found.names[0] == "100"
    with fails("new.csv: expected the columns of training, but a and 1 more is missing"):
        read(write(tmp_path / "new.csv", X, header="x,y,c,d\n"), dataset.preparation)


def test_columns_that_training_left_out(tmp_path):
    path = write(tmp_path / "train.csv", np.arange(30), Y, X)
    dataset = load(f"csv:{path},{path},label=2")
    np.testing.assert_array_equal(read(path, dataset.preparation).x, dataset.train.x)
    without_label = read(write(tmp_path / "new.csv", np.arange(30) + 7, X), dataset.preparation)
    np.testing.assert_array_equal(without_label.x, dataset.train.x)
    assert without_label.names[:2] == ["7", "8"]
    with fails("new.csv: expected 4 columns of numbers as in training, got 3"):
        read(write(tmp_path / "new.csv", X[:, :3]), dataset.preparation)


def test_the_scale_is_that_of_the_training(tmp_path):
    """The new numbers do not decide: all of them may be small."""
    dataset = trained(tmp_path)
    found = read(write(tmp_path / "new.csv", X // 255), dataset.preparation)
    np.testing.assert_allclose(found.x, (X // 255) / 255, rtol=1e-6)
    standardized = trained(tmp_path, options=",scale=standardize")
    preparation = Preparation.from_json(standardized.preparation.to_json())
    np.testing.assert_array_equal(read(tmp_path / "train.csv", preparation).x, standardized.train.x)


IMAGE = Preparation((4, 6, 1))


def test_arrays_and_idx_files(tmp_path):
    x = np.random.default_rng(0).integers(0, 256, (5, 4, 6), np.uint8)
    np.save(tmp_path / "a.npy", x)
    np.savez(tmp_path / "a.npz", x_test=x, y_test=Y[:5])
    (tmp_path / "t10k-images-idx3-ubyte").write_bytes(idx_bytes(x))
    for name in ("a.npy", "a.npz", "t10k-images-idx3-ubyte"):
        found = read(tmp_path / name, IMAGE)
        np.testing.assert_allclose(found.x, x[..., None] / 255, rtol=1e-6)
        assert found.names == ["1", "2", "3", "4", "5"]
    with fails("a.npy: expected 25 numbers for an input of shape .5, 5, 1., got 24"):
        read(tmp_path / "a.npy", Preparation((5, 5, 1)))
    with fails("ubyte: byte 8: expected items of size 5 x 5, got 4 x 6"):
        read(tmp_path / "t10k-images-idx3-ubyte", Preparation((5, 5, 1)))
    np.savez(tmp_path / "a.npz", a=x, b=x)
    with fails("a.npz: expected an array called x or x_test, got a, b"):
        read(tmp_path / "a.npz", IMAGE)


def test_pictures(tmp_path):
    """One or a folder of them, brought to the size of the network's images, whatever numbers it was trained on."""
    pixels = np.arange(24, dtype=np.uint8).reshape(4, 6) * 10
    (tmp_path / "more").mkdir()
    for i, size in ((2, (6, 4)), (10, (12, 8))):
        Image.fromarray(pixels).resize(size).save(tmp_path / "more" / f"{i}.png")
    found = read(tmp_path, IMAGE, resize=True)
    assert found.names == ["more/2.png", "more/10.png"]
    np.testing.assert_allclose(found.x[0, ..., 0], pixels / 255, rtol=1e-6)
    assert found.x.shape == (2, 4, 6, 1)
    one = tmp_path / "more" / "2.png"
    for std in (1.0, 16.0):
        same = read(one, IMAGE._replace(std=(std,), planes=True))
        np.testing.assert_allclose(same.x, found.x[:1], rtol=1e-6)
    raw = Reader(IMAGE._replace(std=(1.0,)), largest=255.0).read([one])
    np.testing.assert_allclose(raw.x[0, ..., 0], pixels, rtol=1e-6)
    with fails("10.png: expected 4x6 pixels as the others, got 8x12: --resize brings all to that size"):
        read(tmp_path, IMAGE)
    np.testing.assert_array_equal(read(tmp_path, IMAGE._replace(resized=True)).x, found.x)
    moved = Preparation((4, 6, 1), mean=(100.0,) * 24, std=(50.0,) * 24)
    with fails("2.png: expected no picture for a run that was trained on numbers that are no pixels"):
        read(one, moved)


def test_images_that_lie_on_their_side(tmp_path):
    """EMNIST's files; pictures stand upright."""
    x = np.random.default_rng(0).integers(0, 256, (5, 6, 4), np.uint8)
    np.save(tmp_path / "a.npy", x)
    found = read(tmp_path / "a.npy", IMAGE._replace(transposed=True))
    np.testing.assert_allclose(found.x[..., 0], x.transpose(0, 2, 1) / 255, rtol=1e-6)


def test_channels_one_after_the_other(tmp_path):
    """CIFAR's files; an array with the channels last is not turned."""
    x = np.random.default_rng(0).integers(0, 256, (5, 3, 4, 6), np.uint8)
    colours = Preparation((4, 6, 3), planes=True)
    for name, array in (("planes", x), ("last", x.transpose(0, 2, 3, 1)), ("rows", x.reshape(5, -1))):
        np.save(tmp_path / f"{name}.npy", array)
        found = read(tmp_path / f"{name}.npy", colours)
        np.testing.assert_allclose(found.x, x.transpose(0, 2, 3, 1) / 255, rtol=1e-6)
    np.save(tmp_path / "one.npy", x[0])
    np.testing.assert_array_equal(read(tmp_path / "one.npy", colours).x, found.x[:1])


def test_inputs_of_another_kind(tmp_path):
    Image.fromarray(np.zeros((4, 6), np.uint8)).save(tmp_path / "a.png")
    with fails("a.png: expected no picture for a run that was trained on inputs of shape .4,."):
        read(tmp_path / "a.png", Preparation((4,)))
    with fails("none.csv: No such file or directory"):
        read(tmp_path / "none.csv", IMAGE)
    (tmp_path / "empty").mkdir()
    with fails("empty: expected pictures in this folder, got none"):
        read(tmp_path / "empty", IMAGE)


def test_another_scale_is_refused_where_it_can_be_known(tmp_path):
    """Inputs from 0 to 1 bound new ones; a table of measures may have outliers."""
    whole = write(tmp_path / "whole.csv", X)
    with fails("whole.csv: expected inputs up to 1, as in training, got up to 255: scaled in another way"):
        read(whole, Preparation((4,), std=(1.0,)))
    outlier = Reader(Preparation((4,), (0.0,) * 4, (1.0,) * 4), largest=3.0).read([whole])
    np.testing.assert_array_equal(outlier.x, X)
    fractions = write(tmp_path / "fractions.csv", X / 255)
    with fails(
        "fractions.csv: expected numbers up to 255, as in training, got up to 1: are they inputs already"
    ):
        read(fractions, Preparation((4,)))
    np.testing.assert_allclose(read(fractions, Preparation((4,)), prepared=True).x, X / 255, rtol=1e-6)

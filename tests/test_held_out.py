"""`fit(…, validation_split=…)`: which examples are held out, of data of every kind."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import xpnet
from conftest import Place
from xpnet import data, losses, nn, optim
from xpnet._training import held_out
from xpnet._util.numbers import whole
from xpnet.callbacks import Callback
from xpnet.errors import ShapeError
from xpnet.metrics import EpochMetrics

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(30, 4)), np.arange(30) % 3


def make_model(place: Place = ("numpy", None), loss: losses.Loss | None = None) -> xpnet.Model:
    return xpnet.Model(
        nn.Linear(4, 3), loss or losses.CrossEntropy(), optim.SGD(0.1), place[0], device=place[1]
    )


def course(history: list[EpochMetrics]) -> list[tuple]:
    return [metrics[:6] for metrics in history]


def test_the_last_examples_are_held_out(place: Place) -> None:
    asarray = make_model(place).backend.asarray
    for fraction, first in ((0.2, 24), (0.5, 15), (0.01, 29), (0.9, 3)):
        parts, split = make_model(place), make_model(place)
        wanted = parts.fit(X[:first], Y[:first], epochs=2, validation=(X[first:], Y[first:]))
        found = split.fit(asarray(X), asarray(Y), epochs=2, validation_split=fraction)
        assert course(found) == course(wanted)


def test_the_others_keep_their_weights() -> None:
    parts, split, weights = make_model(), make_model(), np.arange(30) + 1.0
    wanted = parts.fit(X[:24], Y[:24], epochs=2, validation=(X[24:], Y[24:]), sample_weight=weights[:24])
    assert course(split.fit(X, Y, epochs=2, validation_split=0.2, sample_weight=weights)) == course(wanted)
    with pytest.raises(ShapeError, match="sample_weight: expected 30 weights, got 24"):
        split.fit(X, Y, epochs=1, validation_split=0.2, sample_weight=weights[:24])


def of_h5py(folder: Path) -> tuple[Any, Any]:
    h5py = pytest.importorskip("h5py", reason="h5py is not installed")
    file = h5py.File(folder / "data.h5", "w")
    return file.create_dataset("x", data=X), file.create_dataset("y", data=Y)


def of_zarr(folder: Path) -> tuple[Any, Any]:
    zarr = pytest.importorskip("zarr", reason="zarr is not installed")
    return (zarr.array(X), zarr.array(Y))


def of_memmap(folder: Path) -> tuple[Any, Any]:
    np.save(folder / "x.npy", X)
    return np.load(folder / "x.npy", mmap_mode="r"), Y


def of_pandas(folder: Path) -> tuple[Any, Any]:
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    index = np.arange(30)[::-1]
    return pandas.DataFrame(X, index=index), pandas.Series(Y, index=index)


@pytest.mark.parametrize("on_device", [True, False])
@pytest.mark.parametrize(
    "make",
    [lambda folder: (X.tolist(), Y.tolist()), of_h5py, of_zarr, of_memmap, of_pandas],
    ids=["lists", "h5py", "zarr", "memmap", "pandas"],
)
def test_data_of_every_kind(make: Callable[[Path], tuple[Any, Any]], on_device: bool, tmp_path: Path) -> None:
    wanted = make_model().fit(X, Y, epochs=2, batch_size=7, validation_split=0.25)
    found = make_model().fit(
        *make(tmp_path), epochs=2, batch_size=7, validation_split=0.25, data_on_device=on_device
    )
    assert course(found) == course(wanted)


def test_rows_of_a_store_are_those_of_its_part() -> None:
    class Store:
        shape, dtype = X.shape, X.dtype

        def __getitem__(self, index: Any) -> np.ndarray:
            return X[index]

    (first,), (rest,) = held_out.split(0.3, Store())
    for lazy, array in ((first, X[:21]), (rest, X[21:])):
        assert lazy.shape == array.shape
        assert len(lazy) == len(array)
        for index in (np.s_[:], np.s_[2:5], np.s_[2:99, ...], np.s_[:2, 1], np.array([1, 4]), np.s_[::2]):
            np.testing.assert_array_equal(lazy[index], array[index])


def test_a_training_that_is_resumed_has_the_same_split(tmp_path: Path) -> None:
    class StopAt4(Callback):
        def on_step(self, model: xpnet.Model, step: int, n_steps: int) -> None:
            if model.epoch == 1 and step == 4:
                model.stop()

    whole_run, model, other = make_model(), make_model(), make_model()
    wanted = whole_run.fit(X, Y, epochs=3, batch_size=4, validation_split=0.2)
    model.fit(X, Y, epochs=3, batch_size=4, validation_split=0.2, callbacks=StopAt4())
    model.save_checkpoint(tmp_path / "checkpoint")
    other.load_checkpoint(tmp_path / "checkpoint")
    for each in (model, other):
        each.fit(X, Y, epochs=2, batch_size=4, validation_split=0.2)
        assert course(each.history) == course(wanted)


def test_data_that_is_sorted_by_class_is_told_of() -> None:
    order = np.argsort(Y)
    one_hot = np.eye(3)[Y]
    for loss, y in ((losses.CrossEntropy(), Y), (losses.MeanSquaredError(), one_hot)):
        with pytest.warns(
            UserWarning, match="among them all of class 2: the data seems to be sorted"
        ) as told:
            make_model(loss=loss).fit(X[order], y[order], epochs=1, validation_split=0.34)
        assert told[0].filename == __file__
        make_model(loss=loss).fit(X, y, epochs=1, validation_split=0.34)
        make_model(loss=loss).fit(X[order], y[order], epochs=1, validation_split=0.2)
    real = np.arange(30)[:, None] / 24  # a 0 and a 1, but no classes
    model = xpnet.Model(nn.Linear(4, 1), losses.MeanSquaredError(), optim.SGD(0.1))
    model.fit(X, real, epochs=1, validation_split=0.2)


def test_shares_are_rounded_as_written() -> None:
    """In floating point, 0.29 · 100 is 28.999999999999996."""
    for percent in range(1, 100):
        assert whole(percent / 100 * 100) == percent
        (first,), (rest,) = held_out.split(percent / 100, np.zeros(100))
        assert (len(first), len(rest)) == (100 - percent, percent)
        train, validation = data.split(data.Examples(np.zeros(100), np.zeros(100)), percent / 100)
        assert (len(train.y), len(validation.y)) == (percent, 100 - percent)
    assert whole(2.999999) == 2
    assert whole(1e300) == int(1e300)
    assert whole(2.0**51 + 1) == 2**51 + 1
    assert whole(-0.5) == -1


@pytest.mark.parametrize("x", [{"x": X}, iter(X), 3.0, np.array(3.0)], ids=lambda x: type(x).__name__)
def test_what_has_no_slices_is_refused_in_one_line(x: Any) -> None:
    with pytest.raises(ShapeError, match=r"expected an array or a list of examples for|of numbers, got a"):
        make_model().fit(x, Y, validation_split=0.2)
    with pytest.raises(ShapeError, match="uneven rows"):
        make_model().fit([[1.0, 2.0], [1.0]] * 5, Y[:10], validation_split=0.2)

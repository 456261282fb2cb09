"""Arrays in a file or a store (h5py, zarr): `fit` reads the examples of a chunk, never all at once."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import xpnet
from conftest import MakeBackend, Place
from laws import assert_same, fetch
from xpnet import losses, nn, optim
from xpnet.data import stream
from xpnet.errors import ShapeError


class Store:
    """A lazily loaded array that counts reads. Like h5py it accepts slices and increasing positions."""

    def __init__(self, array: Any) -> None:
        self.array = array
        self.shape, self.dtype = array.shape, array.dtype
        self.reads: list[int] = []

    def __getitem__(self, index: Any) -> np.ndarray:
        first = index[0] if isinstance(index, tuple) else index
        if isinstance(first, np.ndarray):
            assert (np.diff(first) > 0).all()
        part = self.array[index]
        self.reads.append(len(part))
        return part


def examples(n: int = 70) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (n, 6), np.uint8), rng.integers(0, 3, n)


def make_model(place: Place = ("numpy", None), loss: losses.Loss | None = None) -> xpnet.Model:
    net = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
    return xpnet.Model(net, loss or losses.CrossEntropy(), optim.SGD(1e-4), place[0], device=place[1])


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two batches of 16 examples."""
    monkeypatch.setattr(stream, "CHUNK_BYTES", 2 * 16 * 6 * 4)


def train(model: xpnet.Model, x: Any, y: Any, **options: Any) -> Any:
    history = model.fit(x, y, epochs=2, batch_size=16, validation=(x, y), **options)
    return [metrics[:6] for metrics in history], fetch(model.backend, model.state.params)


def assert_trains_alike(
    place: Place, stores: Any, arrays: tuple[np.ndarray, np.ndarray], loss: losses.Loss | None = None
) -> None:
    """Training from stores gives the same bits as from the same data in memory."""
    held, streamed = make_model(place, loss), make_model(place, loss)
    history, params = train(held, *arrays)
    found, _ = train(streamed, *stores, data_on_device=False)
    assert found == history
    assert_same(streamed.backend, streamed.state.params, params)


def assert_read_by_the_chunk(x: Any, y: Any) -> None:
    """Reads at most a chunk at a time, and each example once per epoch; targets once more, for the check."""
    lazy_x, lazy_y = Store(x), Store(y)
    make_model().fit(lazy_x, lazy_y, epochs=3, batch_size=16, data_on_device=False)
    assert max(lazy_x.reads) <= 32
    assert sum(lazy_x.reads) == 3 * 70
    assert sum(lazy_y.reads) <= 4 * 70 + 1


def test_what_is_read(place: Place) -> None:
    x, y = examples()
    assert_read_by_the_chunk(x, y)
    assert_trains_alike(place, (Store(x), Store(y)), (x, y))


def test_labels_are_checked_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "CHECKED_AT_ONCE", 16)
    x, y = examples()
    y[50] = 3
    lazy = Store(y)
    with pytest.raises(
        ShapeError, match=r"expected labels from 0 to 2, got labels from 0 to 3; y\[50\] is 3"
    ):
        make_model().fit(Store(x), lazy, data_on_device=False)
    assert max(lazy.reads) <= 16
    with pytest.raises(ShapeError, match="expected 70 labels, one for each example, got 60"):
        make_model().fit(Store(x), Store(y[:60]), data_on_device=False)
    with pytest.raises(ShapeError, match=r"expected x of shape \(n, 6\), got \(70, 5\)"):
        make_model().fit(Store(x[:, :5]), Store(y), data_on_device=False)
    with pytest.raises(ShapeError, match="expected an array of real numbers, got dtype complex128"):
        make_model().fit(Store(x * 1j), Store(y), data_on_device=False)


def test_real_targets_come_in_the_dtype_of_training(place: Place) -> None:
    x, _ = examples()
    y = np.random.default_rng(1).normal(size=(70, 3))
    assert_trains_alike(place, (Store(x), Store(y)), (x, y), losses.MeanSquaredError())


def test_a_store_can_be_put_on_the_device(make_backend: MakeBackend) -> None:
    place = make_backend("float32")
    x, _ = examples()
    np.testing.assert_array_equal(place.to_numpy(place.asarray(Store(x), real=True)), x)
    np.testing.assert_array_equal(make_model().predict(Store(x)), make_model().predict(x))


def test_hdf5(place: Place, tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py", reason="h5py is not installed")
    x, y = examples()
    with h5py.File(tmp_path / "file.h5", "w") as file:
        stores = file.create_dataset("x", data=x, chunks=(8, 6)), file.create_dataset("y", data=y)
        assert_trains_alike(place, stores, (x, y))
        assert_read_by_the_chunk(*stores)


def test_zarr(place: Place, tmp_path: Path) -> None:
    zarr = pytest.importorskip("zarr", reason="zarr is not installed")
    x, y = examples()
    group = zarr.open_group(tmp_path / "store", mode="w")
    stores = [
        group.create_array(name, data=array, chunks=(8, *array.shape[1:]))
        for name, array in (("x", x), ("y", y))
    ]
    assert_trains_alike(place, stores, (x, y))
    assert_read_by_the_chunk(*stores)

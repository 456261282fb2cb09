"""Data on the host: the same results bit for bit, no thread left, and errors when memory is short."""

import threading
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

import xpnet
from conftest import Place
from laws import assert_same, fetch
from xpnet import backend, data, losses, nn, optim, schedules
from xpnet.callbacks import Callback
from xpnet.data import stream
from xpnet.data.batches import batch_indices
from xpnet.errors import BackendError, DivergedError, ShapeError


def images(n: int = 70) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (n, 4, 4, 2), np.uint8), rng.integers(0, 3, n)


def make_model(place: Place = ("numpy", None), loss: losses.Loss | None = None, **options) -> xpnet.Model:
    net = nn.Sequential(
        nn.Conv2d(2, 3, 3), nn.BatchNorm(3), nn.ReLU(), nn.Dropout(0.2), nn.Flatten(), nn.Linear(12, 3)
    )
    return xpnet.Model(
        net, loss or losses.CrossEntropy(), optim.Adam(0.01), place[0], device=place[1],
        augment=data.augment.HorizontalFlip(), **options,
    )  # fmt: skip


def fit(model: xpnet.Model, x, y, **options):
    history = model.fit(
        x, y, epochs=2, batch_size=16, validation=(x[:20], y[:20]), schedule=schedules.Cosine(2), **options
    )
    return [metrics[:6] for metrics in history]


@pytest.fixture(autouse=True)
def _small_chunks_and_no_thread_left(monkeypatch: pytest.MonkeyPatch):
    """Chunks of two batches of 16 float32 images; afterwards no thread is left."""
    monkeypatch.setattr(stream, "CHUNK_BYTES", 2 * 16 * 32 * 4)
    yield
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("xpnet-data")]


def test_streaming_changes_no_bit(place: Place, tmp_path: Path) -> None:
    """A memory-mapped file of bytes gives the same as data on the device; the last batch is shorter."""
    x, y = images()
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "y.npy", y)
    mapped = [np.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in "xy"]
    held, streamed = make_model(place), make_model(place)
    history = fit(held, x, y, data_on_device=True)
    assert fit(streamed, *mapped, data_on_device=False) == history
    for name in ("params", "statistics", "optimizer"):
        assert_same(
            held.backend, getattr(streamed.state, name), fetch(held.backend, getattr(held.state, name))
        )
    assert streamed.evaluate(*mapped, data_on_device=False) == held.evaluate(x, y)


@pytest.mark.parametrize("shuffle", [False, True])
def test_chunks_hold_the_batches(shuffle: bool) -> None:
    x, y = np.arange(50, dtype=np.uint8)[:, None], np.arange(50)
    for indices in batch_indices(x, 8, seed=3, shuffle=shuffle):
        found = [
            (chunk.x[row, 0].tolist(), chunk.y[row].tolist())
            for chunk in stream.chunks(x, y, indices, "float32", 3 * 8 * 4)
            for row in chunk.indices
        ]
        assert found == [(row.tolist(), row.tolist()) for row in indices]


def test_a_memory_mapped_file_is_not_read_as_a_whole(tmp_path: Path) -> None:
    """A file of 40 MB of bytes, 160 MB as float32, is read with less than 8 MB of memory."""
    x = np.lib.format.open_memmap(tmp_path / "x.npy", "w+", np.uint8, (10_000, 4000))
    x[::7] = 1
    y = np.arange(10_000) % 3
    model = xpnet.Model(nn.Linear(4000, 3), losses.CrossEntropy(), optim.SGD(0.1))
    tracemalloc.start()
    try:
        model.fit(x, y, epochs=1, batch_size=100, data_on_device=False)
        assert tracemalloc.get_traced_memory()[1] < 8e6
    finally:
        tracemalloc.stop()


class Ending(Callback):
    def __init__(self, error: Exception | None = None) -> None:
        self.error = error

    def on_step(self, model, step, n_steps) -> None:
        if self.error:
            raise self.error
        model.stop()


def test_the_thread_ends_when_training_is_stopped_or_fails() -> None:
    x, y = images()
    assert fit(make_model(), x, y, data_on_device=False, callbacks=[Ending()]) == []
    with pytest.raises(KeyError, match="callback") as error:
        fit(make_model(), x, y, data_on_device=False, callbacks=[Ending(KeyError("callback"))])
    names = [thread.name for thread in threading.enumerate()]  # while the traceback still holds all frames
    assert not [name for name in names if name.startswith("xpnet-data")], error


def test_an_epoch_that_was_broken_off_goes_on_in_chunks() -> None:
    class StopAt3(Callback):
        def on_step(self, model, step, n_steps) -> None:
            if model.epoch == 0 and step == 3:
                model.stop()

    x, y = images()
    at_once, broken = make_model(), make_model()
    for model, on_device in ((at_once, True), (broken, False)):
        model.fit(x, y, epochs=1, batch_size=16, data_on_device=on_device, callbacks=[StopAt3()])
        assert model.epoch_step == 3
    at_once.fit(x, y, epochs=1, batch_size=16, data_on_device=True)
    broken.fit(x, y, epochs=1, batch_size=16, data_on_device=False)
    assert_same(broken.backend, broken.state.params, fetch(at_once.backend, at_once.state.params))
    assert int(broken.state.finite_steps) == 5


def test_an_error_of_the_thread_is_that_of_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    class Failing(np.ndarray):
        def __getitem__(self, index):
            if isinstance(index, np.ndarray):
                raise OSError("the disk is gone")
            return super().__getitem__(index)

    x, y = images()
    monkeypatch.setattr(
        np, "asarray", lambda x, asarray=np.asarray, **k: x if isinstance(x, Failing) else asarray(x, **k)
    )
    with pytest.raises(OSError, match="the disk is gone"):
        fit(make_model(), x.view(Failing), y, data_on_device=False)


def test_divergence_is_traced_through_chunks() -> None:
    x, y = images()
    x = x.astype(float)
    x[33] = np.nan
    with pytest.raises(DivergedError, match="the first value that is not finite is in the inputs, in step"):
        make_model().fit(x, y, epochs=1, batch_size=16, data_on_device=False)


@pytest.mark.parametrize(("free", "streams"), [(None, False), (1 << 30, False), (10_000, True)])
def test_data_stays_on_the_host_if_the_device_has_no_room(
    free: int | None, streams: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, used = make_model(("array-api-strict", "device1")), []
    monkeypatch.setattr(model.backend, "free_bytes", lambda: free)
    monkeypatch.setattr(
        "xpnet._training.sources.chunks", lambda *a, chunks=stream.chunks: used.append(a) or chunks(*a)
    )
    model.fit(*images(), epochs=1)
    assert bool(used) == streams


def test_targets_on_the_host() -> None:
    """All targets that the loss accepts, also one-hot integer rows; labels out of range are refused."""
    x, y = images()
    one_hot = np.eye(3, dtype=int)[y]
    for loss in (losses.CrossEntropy(), losses.MeanSquaredError()):
        held, streamed = make_model(loss=loss), make_model(loss=loss)
        assert fit(streamed, x, one_hot, data_on_device=False) == fit(held, x, one_hot)
    with pytest.raises(ShapeError, match="expected labels from 0 to 2, got labels from 0 to 3"):
        make_model().fit(x, y + y // 2, data_on_device=False)
    with pytest.raises(ShapeError, match="expected an array of real numbers, got dtype"):
        make_model().fit(x.astype(complex), y, data_on_device=False)


def out_of_memory(place: Place) -> list[Exception]:
    """The errors that libraries raise when memory runs out."""
    errors: list[Exception] = [MemoryError("Unable to allocate 3.2 TiB")]
    if place[0] == "torch":
        import torch

        errors.append(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"))
        errors.append(
            RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes")
        )
    if place[0] == "jax":
        errors.append(RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 8 bytes."))
    return errors


def test_out_of_memory_tells_what_is_needed_and_what_to_lower(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    for error in out_of_memory(place):

        def fail(*arguments, error=error):
            raise error

        monkeypatch.setattr(backend.BACKENDS[place[0]], "compile_loop", lambda self, step, fail=fail: fail)
        model = make_model(place)
        with pytest.raises(BackendError) as caught:
            model.fit(*images(), batch_size=16)
        message = str(caught.value)
        assert message.startswith(f"<xpnet backend {place[0]}, ")
        needed = model.step_memory((4, 4, 2), 16)
        assert f"expected room for the data, 9.24 kB, and a step of 16 examples, {needed}; " in message
        assert "out of memory: got " in message
        assert message.endswith("a smaller batch_size or micro_batch needs less")
        assert "\n" not in message
        assert caught.value.__cause__ is error


def test_free_memory_is_told_where_the_device_has_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        backend.NumPy, "compile_loop", lambda self, step: lambda *arguments: bytearray(1 << 62)
    )
    model = make_model()
    monkeypatch.setattr(model.backend, "free_bytes", lambda: 123_456)
    with pytest.raises(BackendError, match="out of memory: got 123 kB free, expected room for"):
        model.fit(*images())


def test_other_errors_stay_what_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(KeyError):
        make_model().fit(*images(), callbacks=[Ending(KeyError("mine"))])


@pytest.mark.parametrize("n", [10**7, 10**10, 10**15])
def test_a_network_too_large_for_any_machine(n: int, place: Place) -> None:
    with pytest.raises(BackendError, match=r"out of memory: got .* expected room for the parameters"):
        xpnet.Model(nn.Linear(n, n), losses.CrossEntropy(), optim.SGD(0.1), place[0], device=place[1])


@pytest.mark.parametrize("sizes", [(10**10, np.int64(2), 10**10), (1, 2**63, np.int64(2))], ids=str)
def test_sizes_of_numpy_that_only_python_can_multiply(sizes: tuple[int, ...]) -> None:
    with pytest.raises(BackendError, match="out of memory"):
        xpnet.Model(nn.Conv1d(*sizes), losses.CrossEntropy(), optim.SGD(0.1))

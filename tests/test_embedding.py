"""Ids stay integers from the user to the lookup, and are checked once per data set."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pytest

import xpnet
from conftest import Place
from laws import fetch
from xpnet import losses, nn, optim
from xpnet.backend import namespace
from xpnet.callbacks import Callback
from xpnet.data import stream
from xpnet.errors import ShapeError
from xpnet.testing import check_layer

GOOD, Y = np.array([[0, 4], [1, 2], [3, 3]]), np.array([0, 1, 1])


def make_model(place: Place = ("numpy", None), net: nn.Layer | None = None) -> xpnet.Model:
    net = net or nn.Sequential(nn.Embedding(5, 3), nn.Flatten(), nn.Linear(6, 2))
    return xpnet.Model(net, losses.CrossEntropy(), optim.SGD(0.1), place[0], device=place[1])


CALLS: dict[str, Callable[[xpnet.Model, Any], Any]] = {
    "fit": lambda model, x: model.fit(x, Y, epochs=1),
    "fit in chunks": lambda model, x: model.fit(x, Y, epochs=1, data_on_device=False),
    "validation": lambda model, x: model.fit(GOOD, Y, epochs=1, validation=(x, Y)),
    "evaluate": lambda model, x: model.evaluate(x, Y),
    "evaluate in chunks": lambda model, x: model.evaluate(x, Y, data_on_device=False),
    "predict": lambda model, x: model.predict(x),
    "predict_proba": lambda model, x: model.predict_proba(x),
    "forward": lambda model, x: model.forward(x),
    "prepare": lambda model, x: model.prepare(x, Y),
}


@pytest.mark.parametrize("call", CALLS)
def test_another_number_is_refused_with_its_place(call: str, place: Place) -> None:
    model = make_model(place)
    before = fetch(model.backend, model.params)
    for value, dtype in (
        (-1, int),
        (5, int),
        (0.5, float),
        (np.nan, float),
        (-np.inf, float),
        (2**63 + 1, "u8"),
    ):
        x = GOOD.astype(dtype)
        x[1, 1] = x[2, 0] = value
        for given in (x,) if dtype == "u8" else (x, x.tolist()):
            with pytest.raises(ShapeError) as error:
                CALLS[call](model, given)
            message = (
                f"layer 0, Embedding(5, 3): expected x to hold integers from 0 to 4, got {x[1, 1]} at x[1, 1]"
            )
            assert str(error.value) == "validation: " * (call == "validation") + message
    for name, array in before[0].items():
        np.testing.assert_array_equal(fetch(model.backend, model.params)[0][name], array)


@pytest.mark.parametrize("dtype", ["i1", "u1", ">i4", "u8", "f2", "f8", ">f8", object])
def test_whole_numbers_of_every_dtype(dtype: Any, place: Place) -> None:
    model, expected = make_model(place), make_model(place)
    for given in (GOOD.astype(dtype), expected.backend.asarray(GOOD.astype(dtype))):
        assert model.fit(given, Y, epochs=1)[0][:3] == expected.fit(GOOD, Y, epochs=1)[0][:3]
    np.testing.assert_array_equal(model.predict(GOOD.astype(dtype)), expected.predict(GOOD))


def test_ids_beyond_the_whole_numbers_of_float32(place: Place) -> None:
    entries = 2**40

    @dataclass(frozen=True, repr=False)
    class Remainder(nn.Layer):
        """x mod 7: a table of 2⁴⁰ rows that needs no memory."""

        integers = range(entries)

        def forward(self, params: Any, x: Any) -> Any:
            assert namespace(x).isdtype(x.dtype, "integral")
            return namespace(x).astype(x % 7, model.backend.dtype), ()

        def output_shape(self, input_shape: Any) -> Any:
            return input_shape

    model = xpnet.Model(Remainder(), losses.MeanSquaredError(), optim.SGD(0.1), place[0], device=place[1])
    ids = np.arange(2**24 - 2, 2**24 + 4)[:, None]
    np.testing.assert_array_equal(model.predict(ids), ids % 7)
    largest = min(entries - 1, int(model.backend.xp.iinfo(model.backend.index_dtype).max))
    np.testing.assert_array_equal(model.predict([[largest]]), [[largest % 7]])
    with pytest.raises(ShapeError, match=rf"integers from 0 to {largest}, got {largest + 1} at x\[0, 0\]"):
        model.predict([[largest + 1]])


class OneHotResiduals(NamedTuple):
    pass


@dataclass(frozen=True, repr=False)
class OneHot(nn.Layer):
    """A user's own layer that takes integers, without `output_shape`."""

    integers = range(-1, 4)

    def forward(self, params: Any, x: Any) -> Any:
        assert x.dtype.kind == "i"
        return np.eye(5, dtype=np.float32)[x + 1].reshape(len(x), -1), OneHotResiduals()

    def backward(self, params: Any, residuals: Any, dy: Any) -> Any:
        return np.zeros((len(dy), dy.shape[1] // 5)), {}


def test_a_layer_of_one_s_own_may_want_integers() -> None:
    x = np.array([[-1, 3], [0, 1], [2, 2]])
    net = nn.Sequential(nn.Identity(), nn.Sequential(OneHot(), nn.Linear(10, 2)))
    model = make_model(net=net)
    model.fit(x, Y, epochs=1)
    assert "(n, 2)" in model.summary()
    assert OneHot().output_shape(("n", 2)) == ("n", 10)
    with pytest.raises(
        ShapeError,
        match=r"layer 1, layer 0, OneHot\(\): expected x to hold integers from -1 to 3, got 4 at x\[0, 1\]",
    ):
        model.predict(x + 1)


def test_the_first_layer_that_computes_decides() -> None:
    table = nn.Embedding(5, 3)
    assert nn.Sequential(
        nn.Flatten(), nn.Sequential(nn.Identity()), table, nn.Linear(3, 2)
    ).integers == range(5)
    assert nn.Sequential(nn.Linear(3, 3), table).integers is None
    assert nn.Sequential().integers is None
    assert nn.Residual(table, nn.Embedding(7, 3)).integers == range(5)
    assert nn.Residual(table).integers is None
    check_layer(nn.Embedding(7, 3), (4, 2), backends=["numpy"])


def test_integers_for_other_networks_become_real(place: Place) -> None:
    model = make_model(place, nn.Linear(2, 2))
    assert model.prepare(GOOD, Y)[0].dtype == model.backend.dtype
    assert (
        model.fit(GOOD, Y, epochs=1, data_on_device=False)[0][:3]
        == (make_model(place, nn.Linear(2, 2)).fit(GOOD.astype(float), Y, epochs=1)[0][:3])
    )


def test_in_a_file_a_wrong_id_is_found_when_its_chunk_is_read(
    place: Place, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The model is as before the epoch, and good ids give the same bits as in memory."""
    monkeypatch.setattr(stream, "CHUNK_BYTES", 4 * 2 * 8)
    ids, y = np.random.default_rng(0).integers(0, 5, (20, 2)), np.arange(20) % 2
    np.save(tmp_path / "x.npy", ids)
    held, streamed = make_model(place), make_model(place)
    history = held.fit(ids, y, epochs=1, batch_size=4)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r+")
    assert streamed.fit(mapped, y, epochs=1, batch_size=4, data_on_device=False)[0][:5] == history[0][:5]
    before = fetch(streamed.backend, streamed.state)
    mapped[13, 1] = 5
    with pytest.raises(ShapeError, match=r"got 5 at x\[13, 1\]"):
        streamed.fit(mapped, y, epochs=1, batch_size=4, shuffle=False, data_on_device=False)
    assert (streamed.epoch, streamed.epoch_step) == (1, 0)
    after = fetch(streamed.backend, streamed.state)
    for name in ("params", "step"):
        np.testing.assert_equal(getattr(after, name), getattr(before, name))


def test_a_checkpoint_and_an_augmentation_with_ids(tmp_path: Any) -> None:
    class Stop(Callback):
        def on_step(self, model: Any, step: int, n_steps: int) -> None:
            model.save_checkpoint(tmp_path / "checkpoint")
            model.stop()

    def drop_words(x: Any, key: Any) -> Any:
        assert x.dtype.kind == "i"
        return x * (x != 3)

    def make() -> xpnet.Model:
        net = nn.Sequential(nn.Embedding(5, 3), nn.Flatten(), nn.Linear(6, 2))
        return xpnet.Model(net, losses.CrossEntropy(), optim.Adam(), augment=drop_words)

    whole, stopped, resumed = make(), make(), make()
    whole.fit(GOOD, Y, epochs=1, batch_size=1)
    stopped.fit(GOOD, Y, epochs=1, batch_size=1, callbacks=[Stop()])
    resumed.load_checkpoint(tmp_path / "checkpoint")
    resumed.fit(GOOD, Y, epochs=1, batch_size=1)
    np.testing.assert_array_equal(resumed.params[0]["weight"], whole.params[0]["weight"])

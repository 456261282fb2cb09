"""An ensemble takes batches wherever `Model` does: the same numbers as from arrays, and each network alone."""

import copy
import itertools
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import xpnet
from conftest import Place
from test_ensemble import CE, MLP, SEEDS, StopAt, StopsNetwork, assert_equal, drawn, host
from test_given_batches import Items, Unsized
from xpnet import losses, nn, optim, schedules
from xpnet.errors import ConfigError, DivergedError, ShapeError

X, Y = drawn()
ROWS = [slice(i, i + 4) for i in (0, 4, 8)]  # the last batch has 3
PAIRS = [(X[rows], Y[rows]) for rows in ROWS]
OWN_X, OWN_Y = (
    np.random.default_rng(1).normal(size=(3, 11, 6)),
    np.random.default_rng(2).integers(3, size=(3, 11)),
)
OWN_WEIGHTS = np.random.default_rng(3).integers(3, size=(3, 11)).astype(float)


def made(optimizer: Any = None, seeds: Any = SEEDS, **options: Any) -> xpnet.Ensemble:
    optimizer = optimizer or optim.SGD(0.1, momentum=0.9)
    return xpnet.Ensemble(MLP, CE, optimizer, seeds=seeds, **{"dtype": "float64"} | options)


def assert_all_equal(found: xpnet.Ensemble, expected: Any, tolerance: float = 0) -> None:
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert_equal(one, other, tolerance)


class Shuffled:
    """Another order in each pass, as a `DataLoader` has it: a pass cannot be read again."""

    def __init__(self, pairs: list[Any] = PAIRS) -> None:
        self.pairs, self.rng, self.passes = pairs, np.random.default_rng(0), []

    def __iter__(self) -> Iterator[Any]:
        self.passes.append([])
        for i in self.rng.permutation(len(self.pairs)):
            self.passes[-1].append(int(i))
            yield self.pairs[i]


# The same numbers as from arrays.


def test_batches_for_all_networks(place: Place) -> None:
    """With a schedule and dropout; arrays on NumPy, and on it a model of its own, give the same."""
    held, given = made(), made(backend=place[0], device=place[1])
    n = 8 if place[0] == "jax" else 11  # which compiles for each size
    fit: dict[str, Any] = {"epochs": 2, "schedule": schedules.Cosine(2)}
    measured = place[0] == "numpy"
    held.fit(X[:n], Y[:n], batch_size=4, shuffle=False, validation=(X, Y) if measured else None, **fit)
    given.fit(PAIRS[: -(-n // 4)], validation=PAIRS if measured else None, **fit)
    assert_all_equal(given, held, 1e-12)
    assert given.history[0].images_per_second.min() > 0
    if measured:
        alone = xpnet.Model(MLP, CE, optim.SGD(0.1, momentum=0.9), seed=SEEDS[1], dtype="float64")
        alone.fit(PAIRS, validation=PAIRS, **fit)
        assert_equal(given[1], alone)


def test_weights_and_own_data_of_each_network() -> None:
    """Weights (n,) or (K, n), which may differ in that from batch to batch; measures in batches too."""
    fit = {"epochs": 2, "train_metrics": "end"}
    for x, y, weights, own in (
        (X, Y, OWN_WEIGHTS, False),
        (OWN_X, OWN_Y, None, True),
        (OWN_X, OWN_Y, OWN_WEIGHTS, True),
    ):
        cut = (slice(None),) if own else ()
        batches = [
            (x[(*cut, rows)], y[(*cut, rows)], *([] if weights is None else [weights[:, rows]]))
            for rows in ROWS
        ]
        held, given = made(), made()
        pair = (x, y) if weights is None else (x, y, weights)
        held.fit(
            x, y, batch_size=4, shuffle=False, sample_weight=weights, own_data=own, validation=pair, **fit
        )
        given.fit(batches, own_data=own, validation=batches, test=Unsized(batches), **fit)
        assert_all_equal(given, held, 1e-12)
        assert given.history[-1].test_loss.tolist() == given.history[-1].validation_loss.tolist()
        assert given[0].history[-1].train_metrics == "end"
        expected = held.evaluate(x, y, sample_weight=weights, own_data=own)
        np.testing.assert_allclose(given.evaluate(iter(batches), own_data=own), expected, rtol=1e-12)
        np.testing.assert_array_equal(
            given.predict(iter(batches), own_data=own), held.predict(x, own_data=own)
        )
    mixed = [(*PAIRS[0], np.ones(4)), (*PAIRS[1], np.ones((3, 4)))]
    one, other = made(), made()
    one.fit(mixed, epochs=1)
    other.fit(PAIRS[:2], epochs=1)
    assert_all_equal(one, other, 1e-12)


def test_kinds_of_batches() -> None:
    expected = made()
    expected.fit(PAIRS, epochs=3)
    items = Items(PAIRS)
    for batches in (Unsized(PAIRS), items, tuple(PAIRS)):
        found = made()
        found.fit(batches, epochs=2)
        found.fit(batches, epochs=1)
        assert_all_equal(found, expected)
    assert items.ends == 3
    stream = itertools.cycle(PAIRS)
    found = made()
    found.fit(stream, epochs=1, steps_per_epoch=3)
    found.fit(stream, epochs=2, steps_per_epoch=3)
    assert_all_equal(found, expected)
    votes = found.predict((x for x, _ in PAIRS), combine="vote")
    np.testing.assert_array_equal(votes, found.predict(X, combine="vote"))
    dry = made()
    with pytest.warns(UserWarning, match="this shorter epoch is the last"):
        dry.fit((PAIRS[i % 3] for i in range(5)), epochs=4, steps_per_epoch=3)
    assert [len(dry.history), dry.epoch, dry.epoch_step] == [2, 2, 0]
    with pytest.warns(UserWarning, match="expected 3 batches for epoch 4, got no more: epoch 3 was the last"):
        dry.fit((pair for pair in PAIRS), epochs=2, steps_per_epoch=3)
    assert [len(dry.history), dry.epoch, dry.epoch_step] == [3, 3, 0]


@pytest.mark.parametrize("kind", [xpnet.Model, xpnet.Ensemble])
def test_no_epoch_takes_no_batch(kind: Any) -> None:
    """Nor does a `fit` that is refused; the callbacks are called from start to end."""

    class Calls(xpnet.Callback):
        def on_start(self, model: Any) -> None:
            calls.append("start")

        def on_end(self, model: Any) -> None:
            calls.append("end")

    calls: list[str] = []
    found = made() if kind is xpnet.Ensemble else kind(MLP, CE, optim.SGD(0.1), dtype="float64")
    stream, shuffled = iter(PAIRS), Shuffled()
    assert found.fit(stream, epochs=0, validation=(X, Y), callbacks=Calls()) == []
    assert found.fit(shuffled, epochs=0) == []
    with pytest.raises(ConfigError, match="steps of an epoch for the schedule"):
        found.fit(stream, epochs=1, schedule=schedules.Cosine(1))
    assert (calls, shuffled.passes) == (["start", "end"], [])
    assert len(list(stream)) == len(PAIRS)
    found.fit(PAIRS, epochs=1)
    found.fit(PAIRS, epochs=2, callbacks=StopAt(1, 1), validation=PAIRS)
    found.fit(PAIRS, epochs=0)
    assert [found.epoch, found.epoch_step] == [1, 1]


# The course of a training.


@pytest.mark.parametrize("steps_per_epoch", [None, 2])
@pytest.mark.parametrize("way", ["stop", "exception", "checkpoint"])
def test_resume_in_an_epoch_is_exact(way: str, steps_per_epoch: int | None, tmp_path: Path) -> None:
    given: dict[str, Any] = {"steps_per_epoch": steps_per_epoch}
    whole, cut = made(), made()
    whole.fit(PAIRS, epochs=3, **given)
    stop = StopAt(1, 1, KeyboardInterrupt if way == "exception" else None)
    if way == "exception":
        with pytest.raises(KeyboardInterrupt):
            cut.fit(PAIRS, epochs=3, callbacks=stop, **given)
    else:
        cut.fit(PAIRS, epochs=3, callbacks=stop, **given)
    assert (cut.epoch, cut.epoch_step) == (1, 1)
    if way == "checkpoint":
        cut.save_checkpoint(tmp_path / "file")
        cut = made()
        cut.load_checkpoint(tmp_path / "file")
    cut.fit(PAIRS, epochs=1, **given)
    again = copy.deepcopy(cut)  # between epochs
    for each in (cut, again):
        each.fit(PAIRS, epochs=1, **given)
        assert_all_equal(each, whole)


@pytest.mark.parametrize("read", [Shuffled, lambda: iter(PAIRS)], ids=["once in this order", "once"])
def test_a_network_stops_within_an_epoch_that_is_read_once(read: Callable[[], Any]) -> None:
    """The others go on with the next batch of the same pass."""
    batches, plain = read(), read()
    found, expected = made(), made()
    found.fit(batches, epochs=1, callbacks=StopsNetwork(0, 2))
    expected.fit(plain, epochs=1)
    assert [(model.epoch, model.epoch_step) for model in found] == [(1, 0), (0, 2), (1, 0)]
    for k in (0, 2):
        assert_equal(found[k], expected[k], 0)
    if isinstance(batches, Shuffled):
        assert batches.passes == plain.passes  # one


def test_a_network_that_diverges_leaves_the_others_alone() -> None:
    """The error is that of `Model`, which reads the epoch again; the others miss no batch, also of a pass that
    cannot be read again."""
    net = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))
    rates = [optim.SGD(0.1), optim.SGD(1e200)]
    alone = xpnet.Model(net, losses.MeanSquaredError(), rates[1], seed=1, dtype="float64")
    pairs = [(x, np.eye(3)[y]) for x, y in PAIRS]
    with pytest.raises(DivergedError) as error:
        alone.fit(pairs, epochs=2)

    def ensemble(rates: Any) -> xpnet.Ensemble:
        return xpnet.Ensemble(net, losses.MeanSquaredError(), rates, seeds=range(len(rates)), dtype="float64")

    for make in (lambda: pairs, lambda: Items(pairs), lambda: Shuffled(pairs), lambda: iter(pairs)):
        batches, plain = make(), make()
        epochs = 1 if isinstance(batches, Iterator) else 2
        found, others = ensemble(rates), ensemble(rates[:1])
        with pytest.warns(UserWarning, match=r"^network 1 \(seed 1\) has diverged and is taken out: epoch 1"):
            found.fit(batches, epochs=epochs)
        others.fit(plain, epochs=epochs)
        if isinstance(batches, Shuffled):  # the trace has drawn an order of its own
            assert [len(each) for each in batches.passes[::2]] == [3, 3]
            assert found.epoch == 2
        else:
            assert_equal(found[0], others[0], 0)
        assert found[1].epoch_step == 0
        if isinstance(batches, Items):
            assert batches.ends == plain.ends == 2
        if isinstance(batches, Iterator):
            assert "the batches can be read only once; pass a list of batches" in found.diverged[1]
        elif not isinstance(batches, Shuffled):
            assert found.diverged == {1: str(error.value)}


@pytest.mark.parametrize("read", [list, Shuffled])
def test_a_network_diverges_after_another_has_stopped(read: Callable[[Any], Any]) -> None:
    """It goes back to the start of the epoch, which is traced in a pass of its own; the third one goes on."""
    pairs = [(x, np.eye(3)[y]) for x, y in PAIRS]
    rates = [optim.SGD(rate) for rate in (0.1, 0.1, 1e200)]
    net = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))

    def ensemble(rates: Any) -> xpnet.Ensemble:
        return xpnet.Ensemble(
            net, losses.MeanSquaredError(), rates, seeds=SEEDS[: len(rates)], dtype="float64"
        )

    found, plain = ensemble(rates), ensemble(rates[:1])
    batches, others = read(pairs), read(pairs)
    with pytest.warns(UserWarning, match="network 2 .* has diverged and is taken out: epoch 1, step [23]"):
        found.fit(batches, epochs=1, callbacks=StopsNetwork(0, 1))
    plain.fit(others, epochs=1)
    assert [(model.epoch, model.epoch_step) for model in found] == [(1, 0), (0, 1), (0, 0)]
    assert_equal(found[0], plain[0], 0)
    if read is list:
        alone = xpnet.Model(net, losses.MeanSquaredError(), rates[2], seed=SEEDS[2], dtype="float64")
        with pytest.raises(DivergedError) as error:
            alone.fit(pairs, epochs=1)
        assert found.diverged == {2: str(error.value)}


def test_a_spoilt_batch_of_one_network_is_named() -> None:
    x = OWN_X[:, :4].copy()
    x[1, 3, 2] = np.nan
    found = made()
    with pytest.warns(
        UserWarning, match=re.escape("is in the inputs, in step 2 (nan at x[3, 2] of batch 2)")
    ):
        found.fit([(OWN_X[:, :4], OWN_Y[:, :4]), (x, OWN_Y[:, :4])], epochs=1, own_data=True)
    assert found.diverged.keys() == {1}


# Errors.


class Failing:
    """Raises an error in place of the third batch of its first pass."""

    fails = True

    def __iter__(self) -> Iterator[Any]:
        yield from PAIRS[:2]
        if self.fails:
            self.fails = False
            raise OSError("the disk is gone")
        yield PAIRS[2]


def test_an_error_of_the_iterable_loses_no_step() -> None:
    found, batches, expected = made(), Failing(), made()
    with pytest.raises(OSError, match="the disk is gone") as error:
        found.fit(batches, epochs=1)
    assert error.value.__notes__ == ["fit: this came in place of batch 3 of epoch 1"]
    assert found.epoch_step == 2
    found.fit(batches, epochs=2)
    expected.fit(PAIRS, epochs=2)
    assert_all_equal(found, expected)
    with pytest.raises(KeyboardInterrupt) as interrupt:
        found.fit(iter(PAIRS), epochs=1, callbacks=StopAt(2, 2, KeyboardInterrupt))
    assert interrupt.value.__notes__ == [
        "fit: a list_iterator cannot be read again: its 8 examples of the interrupted epoch 3 do not come back"
    ]


def broken(*arguments: Any, **given: Any) -> xpnet.Ensemble:
    """Interrupted after a step."""
    found = made()
    found.fit(*arguments, epochs=1, callbacks=StopAt(0, 1), **given)
    return found


RESTART = "set ensemble.epoch_step = 0 to restart the epoch"
REFUSED: list[tuple[Any, str]] = [
    (lambda: made().fit([(X, Y), (X, Y[:5])], epochs=1), "batch 2: CrossEntropy(): expected 11 labels, one for each example, got 5"),
    (lambda: made().fit([], epochs=1), "fit: expected at least one batch, got none"),
    (lambda: made().fit(X, epochs=1), "fit: expected y to be the targets of x, got None; write fit(x, y)"),
    (lambda: made().fit(PAIRS, epochs=1, own_data=True), "batch 1: own_data: expected x of shape (3, n, ...) for 3 networks, got (4, 6)"),
    (lambda: made().fit([(OWN_X, OWN_Y[:, :4])], epochs=1, own_data=True), "batch 1: own_data: expected a y for each of 11 x, got 4"),
    (lambda: made().fit([(OWN_X, OWN_Y), (OWN_X, OWN_Y + 3 * (np.arange(3) == 2)[:, None])], epochs=1, own_data=True), "batch 2: network 2: CrossEntropy(): expected labels from 0 to 2, got labels from 3 to 5; y[0] is 3"),
    (lambda: made().fit([(OWN_X, OWN_Y)], epochs=1), "batch 1: CrossEntropy(): expected a network with outputs of shape (n, d), got (3, 11, 3); nn.Flatten() or nn.GlobalAvgPool() makes a row of each example; for x and y of each network write own_data=True"),
    (lambda: made().fit([(X, Y, np.ones((2, 11)))], epochs=1), "batch 1: sample_weight: expected weights of shape (11,), or (3, 11) for each network, got (2, 11)"),
    (lambda: made().fit([(X, Y, OWN_WEIGHTS - 1)], epochs=1), "batch 1: network 0: sample_weight: expected finite weights of at least 0, got weights from -1 to 1; sample_weight[1] is -1"),
    (lambda: made().fit([*PAIRS, (X, Y, np.ones(11))], epochs=1), "batch 4: expected y of shape (n,) without sample_weight, as in the first batch, got y of shape (n,) and sample_weight"),
    (lambda: made().fit(PAIRS, epochs=1, shuffle="shared"), "fit: expected no shuffle with an iterable of batches, got 'shared'; the iterable decides the order, as DataLoader(…, shuffle=True) or dataset.shuffle(n) do"),
    (lambda: made().fit(PAIRS, epochs=1, batch_size=4), "fit: expected no batch_size with an iterable of batches, got 4; the iterable makes the batches"),
    (lambda: made().fit(PAIRS, epochs=1, sample_weight=np.ones(11)), "fit: expected no sample_weight with an iterable of batches, got an array of shape (11,); make each batch (x, y, sample_weight)"),
    (lambda: made().fit(X, Y, epochs=1, steps_per_epoch=2), "fit: expected no steps_per_epoch with arrays, got 2; an epoch is all examples, in batches of batch_size"),
    (lambda: made().fit(iter(PAIRS), epochs=2), "fit: expected batches that can be read in each of 2 epochs, got a list_iterator, which is read once; pass steps_per_epoch, a list of batches or an object with __iter__"),
    (lambda: made().fit(Unsized(PAIRS), epochs=1, schedule=schedules.Cosine(2)), "fit: expected the number of steps of an epoch for the schedule Cosine(2), got an Unsized without a length; pass steps_per_epoch, or give it __len__"),
    (lambda: made().fit(PAIRS, epochs=1, validation=[*PAIRS, (X, Y[:5])]), "validation: batch 4: CrossEntropy(): expected 11 labels, one for each example, got 5"),
    (lambda: made().evaluate(PAIRS, batch_size=3), "evaluate: expected no batch_size with an iterable of batches, got 3; the iterable makes the batches"),
    (lambda: made().predict(PAIRS, batch_size=3), "predict: expected no batch_size with an iterable of batches, got 3; the iterable makes the batches"),
    (lambda: made().predict(iter([])), "predict: expected at least one batch, got none"),
    (lambda: made().evaluate(iter([])), "expected at least one batch, got none"),
    (lambda: made().evaluate([*PAIRS, (X * np.nan, Y)]), "batch 4: expected finite numbers in x, got nan at x[0, 0]"),
    (lambda: made().predict(iter([*PAIRS, (X * np.nan, Y)])), "batch 4: expected finite numbers in x, got nan at x[0, 0]"),
    (lambda: broken(PAIRS).fit(X, Y, epochs=1), f"fit: expected an iterable of batches, as in the interrupted epoch 1, got Batches(examples=11, batch_size=64, shuffle=True); {RESTART}"),
    (lambda: broken(X, Y, batch_size=4).fit(PAIRS, epochs=1), f"fit: expected Batches(examples=11, batch_size=4, shuffle=True), as in the interrupted epoch 1, got an iterable of batches; {RESTART}"),
    (lambda: broken(PAIRS).fit(PAIRS, epochs=1, steps_per_epoch=2), f"fit: expected an iterable of batches, as in the interrupted epoch 1, got an iterable of batches with steps_per_epoch=2; {RESTART}"),
    (lambda: broken(PAIRS).fit(iter(PAIRS), epochs=1), f"fit: expected batches that can be read again, to go on after step 1 of the interrupted epoch 1, got a list_iterator; {RESTART} with the next batches"),
    (lambda: broken(PAIRS).fit([(x, y, np.ones(len(x))) for x, y in PAIRS], epochs=1), f"fit: expected no sample_weight, as in the interrupted epoch, got one; {RESTART}"),
    (lambda: broken(X, Y, batch_size=4, sample_weight=np.ones(11)).fit(X, Y, batch_size=4, epochs=1), f"fit: expected a sample_weight, as in the interrupted epoch, got none; {RESTART}"),
]  # fmt: skip


@pytest.mark.parametrize(("wrong", "line"), REFUSED, ids=[line[:50] for _, line in REFUSED])
def test_refused(wrong: Any, line: str) -> None:
    with pytest.raises((ConfigError, ShapeError)) as error:
        wrong()
    assert str(error.value) == line


def test_an_interrupted_epoch_begins_anew() -> None:
    found, expected = broken(iter(PAIRS)), made()
    before = {name: array.copy() for name, array in host(found[0]).items()}
    found.epoch_step = 0
    found.fit(PAIRS, epochs=1)
    assert [model.epoch for model in found] == [1, 1, 1]
    expected.fit(PAIRS[:1], epochs=1)
    for name, array in before.items():
        np.testing.assert_array_equal(host(expected[0])[name], array)
    expected.fit(PAIRS, epochs=1)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(host(one)["params.0.weight"], host(other)["params.0.weight"])

"""Trainings of sweeps that differ in numbers alone: an ensemble has the numbers of trainings one by one."""

from dataclasses import replace
from typing import Any

import pytest

from xpnet import data
from xpnet.studies import _processes, _trainings, sweep
from xpnet.studies._trainings import Data, Run, Size, Task, pieces, size_of, train, train_together
from xpnet.train.config import Config

BASE = Config(hidden=(8,), momentum=0.0, nesterov=False, l2=0.0, epochs=3, batch_size=50, quiet=True)


@pytest.fixture(scope="module")
def examples() -> Data:
    whole = data.load("mnist-sample")
    train, validation, test = (
        data.Examples(whole.train.x[rows], whole.train.y[rows])
        for rows in (slice(240), slice(240, 300), slice(300, 400))
    )
    return Data(train, validation, test, whole.classes)


def without_time(run: Run) -> tuple[Any, ...]:
    history = [metrics._replace(seconds=0.0, images_per_second=0.0) for metrics in run.history]
    return tuple(map(repr, (history, *run[:1], *run[2:])))  # repr: nan is nan


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param([{}, {"learning_rate": 0.01}, {"learning_rate": 1e20}], id="learning rates"),
        pytest.param(
            [{"l2": 0.001}, {"l2": 0.1, "weight_init": "zeros"}, {"l2": 0.01, "weight_scale": 2.0}],
            id="penalties and initial weights",
        ),
        pytest.param(
            [
                {"momentum": 0.5, "weight_decay": 0.01, "dropout": 0.2},
                {"momentum": 0.9, "weight_decay": 0.1, "dropout": 0.5},
                {"momentum": 0.9, "weight_decay": 0.1, "dropout": 0.5, "learning_rate": 1e20},
            ],
            id="momentum, weight decay and dropout",
        ),
        pytest.param(
            [{"learning_rate": rate, "early_stopping": 1, "epochs": 9} for rate in (0.3, 1.0, 1e20)],
            id="early stopping",
        ),
        pytest.param([{"learning_rate": 1e20}, {"learning_rate": 1e25}], id="all diverge"),
    ],
)
def test_trainings_together_have_the_bits_of_trainings_alone(
    examples: Data, changes: list[dict[str, Any]]
) -> None:
    configs = [replace(BASE, seed=seed, **change) for seed in (3, 4) for change in changes]
    assert len({Task(config, examples, Size(0, 0)).kind for config in configs}) == 1
    found = train_together(configs, examples)
    alone = [train(config, examples)[1] for config in configs]
    assert list(map(without_time, found)) == list(map(without_time, alone))
    assert sum(bool(run.diverged) for run in alone) == sum(config.learning_rate > 1 for config in configs)
    if "early_stopping" in changes[0]:
        assert len({len(run.history) for run in found}) > 2


def test_numbers_do_not_depend_on_the_networks_beside(examples: Data) -> None:
    """Also where an ensemble rounds otherwise than a network alone."""
    configs = [replace(BASE, batch_norm=True, learning_rate=rate) for rate in (0.1, 0.3, 1e20)]
    pieces = [found for config in configs for found in train_together([config], examples)]
    assert list(map(without_time, train_together(configs, examples))) == list(map(without_time, pieces))


def test_the_time_of_an_epoch_is_shared_among_the_networks_that_train(examples: Data) -> None:
    configs = [replace(BASE, learning_rate=rate) for rate in (0.1, 0.2, 1e20)]
    *found, diverged = train_together(configs, examples)
    assert diverged.history == []
    for one, other in zip(found[0].history, found[1].history, strict=True):
        assert one.seconds == other.seconds > 0
        assert one.images_per_second * one.seconds == pytest.approx(len(examples.train.y))


def test_other_backends_train_together_too(examples: Data) -> None:
    configs = [replace(BASE, backend="array-api-strict", seed=seed, l2=0.01, epochs=1) for seed in (3, 4)]
    for config, run in zip(configs, train_together(configs, examples), strict=True):
        _, alone = train(config, examples)
        assert run.test.loss == pytest.approx(alone.test.loss, rel=1e-5)
        assert run.weight_norm == pytest.approx(alone.weight_norm, rel=1e-5)


@pytest.mark.parametrize("early_stopping", [0, 1])
def test_the_last_evaluations_are_those_of_the_epoch_that_the_model_ends_with(
    examples: Data, early_stopping: int
) -> None:
    config = replace(BASE, epochs=9, learning_rate=0.5, early_stopping=early_stopping)
    model, run = train(config, examples)
    assert (len(run.history) < 9) == bool(early_stopping)
    for part in ("train", "validation", "test"):
        assert getattr(run, part) == model.evaluate(*getattr(examples, part)), part


def test_validation_examples_that_are_the_test_examples_are_measured_once(
    examples: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    test = examples.test
    twice = Data(examples.train, test, data.Examples(*test), examples.classes, test_each_epoch=True)
    once = twice._replace(test=test)
    expected = without_time(train(BASE, twice)[1])
    given = []
    fit = _trainings.Model.fit
    monkeypatch.setattr(_trainings.Model, "fit", lambda *a, **k: given.append(k["test"]) or fit(*a, **k))
    assert without_time(train(BASE, once)[1]) == expected
    assert given == [None]
    train(BASE, twice)
    assert given[1] is twice.test


def tasks(examples: Data, *changes: dict[str, Any]) -> list[Task]:
    configs = [replace(BASE, **change) for change in changes]
    return [Task(config, examples, size_of(config, examples)) for config in configs]


def test_trainings_that_differ_in_more_than_numbers_are_not_together(examples: Data) -> None:
    alike = [{"learning_rate": 0.2}, {"seed": 3}, {"weight_init": "normal"}, {"weight_scale": 0.1}]
    other = [
        {"hidden": (9,)},
        {"activation": "tanh"},
        {"batch_size": 20},
        {"epochs": 2},
        {"optimizer": "adam"},
    ]
    other += [{"l2": 0.1}, {"momentum": 0.5}, {"weight_decay": 0.1}, {"dropout": 0.1}]  # steps of other parts
    found = tasks(examples, {}, *alike, *other)
    found.append(found[0]._replace(examples=examples._replace(test=examples.validation)))
    groups = pieces(found, 1)
    assert sorted(groups) == [[0, 1, 2, 3, 4], *[[i] for i in range(5, len(found))]]


def test_networks_train_together_where_it_is_faster(examples: Data) -> None:
    def sizes(count: int, **change: Any) -> list[int]:
        return list(map(len, pieces(tasks(examples, *[{"seed": i, **change} for i in range(count)]), 1)))

    assert sizes(_trainings.AT_ONCE + 2) == [_trainings.AT_ONCE, 2]
    assert sizes(3, hidden=(512,)) == [1, 1, 1]  # too large for the cache
    assert sizes(3, channels=(4,)) == [1, 1, 1]
    assert sizes(40, backend="array-api-strict") == [40]
    assert sizes(3, channels=(4,), backend="array-api-strict") == [1, 1, 1]

    def on_jax(**change: Any) -> list[list[int]]:
        configs = [replace(BASE, seed=i, backend="jax", **change) for i in range(3)]
        return pieces([Task(config, examples, Size(1 << 25, 1)) for config in configs], 1)

    assert on_jax() == [[0, 1], [2]]  # bounded by memory
    assert on_jax(channels=(4,)) == [[0, 1, 2]]


def test_pieces_get_smaller_so_that_all_processes_end_together(examples: Data) -> None:
    changes = [{"hidden": (width,), "seed": seed} for width in (8, 64, 16) for seed in range(10)]
    found = tasks(examples, *changes)
    for processes in (2, 3, 50):
        cut = pieces(found, processes)
        assert sorted(i for piece in cut for i in piece) == list(range(30))
        assert all(found[i].kind == found[piece[0]].kind for piece in cut for i in piece)
        work = [sum(found[i].size.operations for i in piece) for piece in cut]
        for done, (piece, its_work) in enumerate(zip(cut, work, strict=True)):
            assert len(piece) == 1 or its_work <= sum(work[done:]) / (2 * processes)
        widths = [found[piece[0]].config.hidden[0] for piece in cut]
        assert widths == sorted(widths, reverse=True)
    assert max(map(len, pieces(found, 2))) > 2


@pytest.mark.skipif(not _processes.CAN_FORK, reason="this system has no safe fork")
def test_a_sweep_has_the_numbers_of_train_for_any_number_of_processes(examples: Data) -> None:
    base = replace(BASE, epochs=2, l2=0.001)
    changes = {
        "slow": {"learning_rate": 0.01}, "zeros": {"weight_init": "zeros"}, "fails": {"learning_rate": 1e20},
        "free": {"l2": 0.0}, "wide": {"hidden": (320,)},
    }  # fmt: skip
    expected = [
        [train(replace(base, seed=seed, **change), examples)[1] for seed in (3, 4)]
        for change in changes.values()
    ]
    for processes in (1, 2, 7):
        found = sweep.sweep(base, changes, [3, 4], examples, processes)
        for variant, alone in zip(found, expected, strict=True):
            assert [*map(without_time, variant.runs)] == [*map(without_time, alone)], (processes, variant)

"""Early stopping, and the calls of callbacks at the end of `fit`."""

import copy
import math
import pickle
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import xpnet
from conftest import Place
from laws import assert_same, fetch
from xpnet import losses, nn, optim, schedules
from xpnet.callbacks import Callback, EarlyStopping, Predictions
from xpnet.errors import ConfigError, DivergedError
from xpnet.metrics import EpochMetrics
from xpnet.train.reporting import Best, Timer
from xpnet.tree import Tree


class Watched(EarlyStopping):
    """Early stopping that sees a given sequence of losses instead of the model's."""

    def __init__(self, course: list[float], **options) -> None:
        super().__init__(**options)
        self.course = course

    def on_epoch(self, model: xpnet.Model, metrics: EpochMetrics) -> None:
        super().on_epoch(model, metrics._replace(validation_loss=self.course[metrics.epoch - 1]))


class Snapshots(Callback):
    def __init__(self) -> None:
        self.taken: list = []

    def on_epoch(self, model: xpnet.Model, metrics: EpochMetrics) -> None:
        self.taken.append(fetch(model.backend, model.snapshot()))


def fit(early: EarlyStopping, place: Place = ("numpy", None), validation: bool = True):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(20, 4)), rng.integers(3, size=20)
    net = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm(5), nn.Linear(5, 3))
    model = xpnet.Model(net, losses.CrossEntropy(), optim.SGD(0.1), place[0], device=place[1])
    snapshots = Snapshots()
    history = model.fit(
        x, y, epochs=6, validation=(x, y) if validation else None, callbacks=[early, snapshots]
    )
    return model, len(history), snapshots.taken


def test_a_callback_is_shown_as_its_constructor_call() -> None:
    class Log(Callback):
        def __init__(self, where: str, *more: int, often: bool = True) -> None:
            self.where = where

    assert repr(EarlyStopping(3, min_delta=0.5)) == "EarlyStopping(patience=3, min_delta=0.5)"
    assert repr([Callback(), Log("there", 1, often=False)]) == "[Callback(), Log(where='there')]"
    assert repr(Predictions(np.ones((2000, 3)))) == "Predictions(x=array([[1., 1., 1.], [1., 1., 1.], [1.,…)"


def test_stops_when_patience_is_over_and_goes_back_to_the_best(place: Place) -> None:
    model, epochs, snapshots = fit(Watched([5, 4, 3, 3, 3.5, 1], patience=2), place)
    assert epochs == 5
    assert_same(model.backend, model.snapshot(), snapshots[2])


def test_goes_back_at_the_end_too_unless_told_not_to() -> None:
    model, epochs, snapshots = fit(Watched([5, 4, 3, 3, 2, 4], patience=3))
    assert epochs == 6
    assert_same(model.backend, model.snapshot(), snapshots[4])
    model, _, snapshots = fit(Watched([5, 4, 3, 3, 2, 4], patience=3, restore=False))
    assert_same(model.backend, model.snapshot(), snapshots[5])


def test_min_delta_is_what_a_better_epoch_has_to_gain() -> None:
    assert fit(Watched([5, 4.9, 4.8, 4.7, 4.6, 4.5], patience=3, min_delta=0.25))[1] == 6
    assert fit(Watched([5, 4.9, 4.8, 4.7, 4.6, 4.5], patience=3, min_delta=0.5))[1] == 4


def test_of_accuracy_more_is_better(monkeypatch: pytest.MonkeyPatch) -> None:
    early = EarlyStopping(1, monitor="validation_accuracy")
    model = fit(EarlyStopping(9))[0]
    stops: list[int] = []
    for epoch, accuracy in enumerate([0.5, 0.6, 0.6], start=1):
        monkeypatch.setattr(model, "stop", lambda epoch=epoch: stops.append(epoch))
        early.on_epoch(model, EpochMetrics(epoch, 1.0, 0.5, 1.0, accuracy, 0.1, 1.0, 1.0))
    assert stops == [3]


def test_refuses_what_makes_no_sense() -> None:
    with pytest.raises(
        ConfigError, match="EarlyStopping: expected patience to be an integer of at least 1, got 0"
    ):
        EarlyStopping(0)
    with pytest.raises(ConfigError, match=r"EarlyStopping: expected monitor validation_loss, .*, got 'loss'"):
        EarlyStopping(1, monitor="loss")
    with pytest.raises(ConfigError, match="EarlyStopping: expected validation data with a validation_loss"):
        fit(EarlyStopping(1), validation=False)


# The end of fit: normal, by stop, or by an exception.


class Note(Callback):
    """Records the calls of its hooks, and raises in one of them if asked to."""

    def __init__(
        self, name: str, log: list[str], fails: str = "", error: BaseException | None = None
    ) -> None:
        self.name, self.log, self.fails, self.error = name, log, fails, error or ZeroDivisionError(name)

    def note(self, hook: str) -> None:
        self.log.append(f"{self.name} {hook}")
        if hook == self.fails:
            raise self.error

    def on_start(self, model: xpnet.Model) -> None:
        self.note("start")

    def on_step(self, model: xpnet.Model, step: int, n_steps: int) -> None:
        self.note("step")

    def on_epoch(self, model: xpnet.Model, metrics: EpochMetrics) -> None:
        self.note("epoch")

    def on_end(self, model: xpnet.Model) -> None:
        self.note("end")


def small(**options) -> xpnet.Model:
    return xpnet.Model(nn.Linear(3, 2), losses.CrossEntropy(), optim.SGD(options.pop("rate", 0.1)), **options)


X, Y = np.eye(3), np.array([0, 1, 0])


@pytest.mark.parametrize("error", [ZeroDivisionError("mine"), KeyboardInterrupt()], ids=repr)
@pytest.mark.parametrize(
    ("fails", "expected"),
    [
        ("start", ["a start", "b start", "a end"]),
        ("step", ["a start", "b start", "c start", "a step", "b step", "c end", "b end", "a end"]),
        ("epoch", ["a start", "b start", "c start", "a step", "b step", "c step", "a epoch", "b epoch", "c end", "b end", "a end"]),
        ("end", ["a start", "b start", "c start", "a step", "b step", "c step", "a epoch", "b epoch", "c epoch", "c end", "b end", "a end"]),
    ],
)  # fmt: skip
def test_all_that_started_come_to_their_end(fails: str, expected: list[str], error: BaseException) -> None:
    log: list[str] = []
    callbacks = [Note("a", log), Note("b", log, fails, error), Note("c", log)]
    with pytest.raises(type(error)) as caught:
        small().fit(X, Y, epochs=1, callbacks=callbacks)
    assert caught.value is error
    assert log == expected


def test_the_first_exception_is_raised_and_the_others_are_notes_to_it() -> None:
    log: list[str] = []
    callbacks = [Note("a", log, "end"), Note("b", log, "step"), Note("c", log, "end")]
    with pytest.raises(ZeroDivisionError) as caught:
        small().fit(X, Y, callbacks=callbacks)
    assert caught.value is callbacks[1].error
    assert caught.value.__notes__ == [
        "Note.on_end: ZeroDivisionError('c')",
        "Note.on_end: ZeroDivisionError('a')",
    ]
    callbacks = [Note("a", log, "end"), Note("c", log, "end")]
    with pytest.raises(ZeroDivisionError) as caught:
        small().fit(X, Y, epochs=1, callbacks=callbacks)
    assert caught.value is callbacks[1].error
    assert caught.value.__notes__ == ["Note.on_end: ZeroDivisionError('a')"]


def test_a_model_that_diverged_is_neither_saved_nor_kept_from_its_best_epoch(tmp_path: Path) -> None:
    """The learning rate is 0.1 and then 1e39, beyond float32: the second epoch diverges."""
    model, snapshots, log = small(), Snapshots(), []
    with np.errstate(all="ignore"), pytest.raises(DivergedError) as caught:
        model.fit(
            X, Y, epochs=3, batch_size=1, validation=(X, Y), schedule=schedules.Step(1, 1e40),
            callbacks=[EarlyStopping(9), snapshots, Note("a", log), xpnet.Checkpoints(tmp_path)],
        )  # fmt: skip
    assert not hasattr(caught.value, "__notes__")
    assert log[-1] == "a end"
    assert [path.name for path in tmp_path.iterdir()] == ["epoch-1-step-0.safetensors"]
    assert_same(model.backend, model.snapshot(), snapshots.taken[0])
    other = small()
    with np.errstate(all="ignore"), pytest.raises(DivergedError):
        small(rate=1e39).fit(X, Y, batch_size=1, callbacks=[xpnet.Checkpoints(tmp_path / "new")])
    assert xpnet.Checkpoints(tmp_path / "new").newest() is None
    other.load_checkpoint(tmp_path / "epoch-1-step-0.safetensors")
    assert_same(other.backend, other.snapshot(), snapshots.taken[0])


class Torn(optim.SGD):
    """An optimizer that overwrites the parameters, as it may, and raises in its fifth step."""

    steps = 0

    def update(self, params: Tree, grads: Tree, state: Tree) -> tuple[Tree, Tree]:
        type(self).steps += 1
        if type(self).steps == 5:
            params["bias"][...] = 99.0
            raise KeyboardInterrupt
        return super().update(params, grads, state)


def test_a_step_that_is_broken_off_leaves_the_model_as_before_the_epoch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Torn, "steps", 0)
    model, log, snapshots = xpnet.Model(nn.Linear(3, 2), losses.CrossEntropy(), Torn(0.1)), [], Snapshots()
    with pytest.raises(KeyboardInterrupt):
        model.fit(
            X, Y, epochs=3, batch_size=1,
            callbacks=[Note("a", log), snapshots, xpnet.Checkpoints(tmp_path, minutes=1e-9)],
        )  # fmt: skip
    assert log[-1] == "a end"
    assert (model.epoch, model.epoch_step, len(model.history)) == (1, 0, 1)
    assert_same(model.backend, model.snapshot(), snapshots.taken[0])
    assert xpnet.Checkpoints(tmp_path).newest() == tmp_path / "epoch-1-step-1.safetensors"
    whole, resumed = small(), small()
    whole.fit(X, Y, epochs=3, batch_size=1)
    for other in (model, resumed):
        if other is resumed:
            resumed.load_checkpoint(tmp_path / "epoch-1-step-1.safetensors")
        other.fit(X, Y, epochs=2, batch_size=1)
        assert_same(other.backend, other.params, fetch(whole.backend, whole.params))


@pytest.mark.parametrize(
    "other", [optim.Adam(0.01), optim.AverageWeights(optim.SGD(0.05)), optim.SGD(0.1, 0.9)]
)
@pytest.mark.parametrize("given", ["arrays", "batches", "a generator"])
def test_an_optimizer_with_a_state_of_its_own_starts_in_the_middle_of_an_epoch(
    other: optim.Optimizer, given: str
) -> None:
    """As if the epoch had been stopped there, and gone on with it."""
    pairs = [(X[i : i + 1], Y[i : i + 1]) for i in range(3)]
    source, options = {
        "arrays": ((X, Y), {"batch_size": 1}),
        "batches": ((pairs,), {}),
        "a generator": ((iter(2 * pairs),), {"steps_per_epoch": 3}),
    }[given]
    again, plain = ((pairs,), {}) if given == "a generator" else (source, options)

    class After1(Callback):
        def __init__(self, stop: bool) -> None:
            self.stop = stop

        def on_step(self, model: xpnet.Model, step: int, n_steps: int) -> None:
            if step == 1:
                model.optimizer = other
                if self.stop:
                    model.stop()

    model, stopped = small(), small()
    model.fit(*source, epochs=2, callbacks=After1(stop=False), **options)
    stopped.fit(*again, epochs=1, callbacks=After1(stop=True), **plain)
    assert (stopped.epoch, stopped.epoch_step) == (0, 1)
    stopped.fit(*again, epochs=2, **plain)
    assert_same(model.backend, model.state, fetch(stopped.backend, stopped.state))
    assert [row[:6] for row in model.history] == [row[:6] for row in stopped.history]


def test_an_exception_between_two_steps_leaves_the_model_there_and_saves_it(tmp_path: Path) -> None:
    """The exception comes before or after this callback sees the step; only a step it has seen is saved."""

    class FailAt2(Callback):
        def on_step(self, model: xpnet.Model, step: int, n_steps: int) -> None:
            if step == 2:
                raise ZeroDivisionError

    for first in (True, False):
        model, folder = small(), tmp_path / str(first)
        callbacks = [FailAt2(), xpnet.Checkpoints(folder)]
        with pytest.raises(ZeroDivisionError):
            model.fit(X, Y, batch_size=1, callbacks=callbacks if first else callbacks[::-1])
        assert (model.epoch, model.epoch_step) == (0, 2)
        found = [path.name for path in folder.iterdir()]
        assert found == ([] if first else ["epoch-0-step-2.safetensors"])


def test_an_exception_does_not_save_numbers_that_are_not_finite(tmp_path: Path) -> None:
    class Fail(Callback):
        def on_step(self, model: xpnet.Model, step: int, n_steps: int) -> None:
            if step == 3:
                raise ZeroDivisionError

    with np.errstate(all="ignore"), pytest.raises(ZeroDivisionError):
        small(rate=1e39).fit(X, Y, batch_size=1, callbacks=[xpnet.Checkpoints(tmp_path), Fail()])
    assert list(tmp_path.iterdir()) == []


def test_a_validation_that_fails_can_be_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All steps are done but the epoch is not: resuming from a checkpoint starts with the validation."""
    whole, failed, resumed = small(), small(), small()
    expected = whole.fit(X, Y, epochs=1, batch_size=1, validation=(X, Y))
    with monkeypatch.context() as patch:
        patch.setattr("xpnet._training.evaluation.evaluate", lambda *arguments: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            failed.fit(X, Y, batch_size=1, validation=(X, Y), callbacks=[xpnet.Checkpoints(tmp_path)])
    assert (failed.epoch, failed.epoch_step, failed.history) == (0, 3, [])
    resumed.load_checkpoint(tmp_path / "epoch-0-step-3.safetensors")
    for model in (failed, resumed):
        (metrics,) = model.fit(X, Y, epochs=1, batch_size=1, validation=(X, Y))
        assert metrics[:6] == expected[0][:6]


class StopAtOnce(Callback):
    def on_start(self, model: xpnet.Model) -> None:
        model.stop()


def test_a_stop_before_the_first_step_saves_the_start(place: Place, tmp_path: Path) -> None:
    """No step has made arrays of the totals yet: all the same, `fit` ends and can be resumed."""

    def make_model() -> xpnet.Model:
        return xpnet.Model(nn.Linear(4, 3), losses.CrossEntropy(), optim.SGD(0.1), place[0], device=place[1])

    x, y = np.random.default_rng(0).normal(size=(20, 4)), np.arange(20) % 3
    model, checkpoints = make_model(), xpnet.Checkpoints(tmp_path)
    assert not model.has_diverged()
    assert model.fit(x, y, epochs=2, callbacks=[StopAtOnce(), checkpoints]) == []
    other = make_model()
    assert xpnet.Checkpoints(tmp_path).resume(other) == []
    for each in (model, other):
        each.fit(x, y, epochs=1)
    assert_same(model.backend, other.params, fetch(model.backend, model.params))


# Each fit starts its schedule and callbacks afresh.


class Losses(Callback):
    """Records the losses; as an author writes it who only knows `state` and `load_state`."""

    def __init__(self) -> None:
        self.seen: list[float] = []
        self.sums = np.zeros(2)

    def on_epoch(self, model: xpnet.Model, metrics: EpochMetrics) -> None:
        self.seen.append(metrics.train_loss)
        self.sums += 1

    def state(self) -> dict[str, Any]:
        return {"seen": self.seen, "sums": self.sums}

    def load_state(self, state: dict[str, Any]) -> None:
        self.seen, self.sums = list(state["seen"]), state["sums"]


NOISE = np.random.default_rng(1)
NOISY = [
    (NOISE.normal(size=(60, 4)), NOISE.integers(0, 2, 60)) for _ in range(2)
]  # nothing to learn: training overfits at once


def overfitting(seed: int = 0) -> xpnet.Model:
    net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    return xpnet.Model(net, losses.CrossEntropy(), optim.Adam(0.1), seed=seed)


def companions() -> dict[str, Any]:
    return {
        "validation": NOISY[1],
        "schedule": schedules.ReduceOnPlateau(0.5, 0),
        "callbacks": [EarlyStopping(3), Losses()],
    }


def result(model: xpnet.Model, options: dict[str, Any]) -> tuple:
    early, seen = options["callbacks"]
    metrics = [row[:6] for row in model.history]
    return metrics, options["schedule"].state(), (early.best, early.best_epoch), seen.seen, seen.sums.tolist()


def test_models_of_a_cross_validation_do_not_know_of_each_other() -> None:
    """The same schedule and callbacks for model after model are as new ones for each."""
    shared = companions()
    for seed in range(3):
        model, alone, own = overfitting(seed), overfitting(seed), companions()
        model.fit(*NOISY[0], epochs=30, **shared)
        alone.fit(*NOISY[0], epochs=30, **own)
        assert 3 < len(model.history) < 30
        assert model.history[0].learning_rate == 0.1
        assert result(model, shared) == result(alone, own)
        assert_same(model.backend, model.params, fetch(alone.backend, alone.params))


def test_another_fit_of_the_same_model_starts_afresh() -> None:
    model, options = overfitting(), companions()
    first = model.fit(*NOISY[0], epochs=30, **options)
    second = model.fit(*NOISY[0], epochs=30, **options)
    assert 0 < len(first) < 30
    assert 0 < len(second) < 30
    early, seen = options["callbacks"]
    assert seen.seen == [metrics.train_loss for metrics in second]
    assert early.best_epoch > len(first)
    assert second[0].learning_rate == 0.1


def test_a_state_that_is_not_there_before_on_start_is_made_there() -> None:
    class Late(Callback):
        def on_start(self, model: xpnet.Model) -> None:
            self.epochs = 0

        def on_epoch(self, model: xpnet.Model, metrics: EpochMetrics) -> None:
            self.epochs += 1

        def state(self) -> dict[str, Any]:
            return {"epochs": self.epochs}

        def load_state(self, state: dict[str, Any]) -> None:
            raise AssertionError

    late = Late()
    for _ in range(2):
        small().fit(X, Y, epochs=2, callbacks=[late])
        assert late.epochs == 2


def test_a_load_state_that_fails_says_why_it_was_called() -> None:
    class Fails(Losses):
        def load_state(self, state: dict[str, Any]) -> None:
            raise ZeroDivisionError

    fails = Fails()
    small().fit(X, Y, epochs=1, callbacks=[fails])
    with pytest.raises(ZeroDivisionError) as error:
        small().fit(X, Y, epochs=1, callbacks=[fails])
    assert error.value.__notes__ == ["fit starts Fails afresh, with the state before its first fit"]


class StopAt(Callback):
    def __init__(self, epoch: int, step: int) -> None:
        self.at = epoch, step

    def on_step(self, model: xpnet.Model, step: int, n_steps: int) -> None:
        if (model.epoch, step) == self.at:
            model.stop()


every_copy = pytest.mark.parametrize(
    "copied", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))]
)


@every_copy
def test_a_copy_of_a_model_starts_afresh_as_the_model_does(copied: Callable) -> None:
    model, options = overfitting(), companions()
    model.fit(*NOISY[0], epochs=30, **options)
    for each in (copied(model), model):
        assert len(each.fit(*NOISY[0], epochs=3, **options)) == 3
        assert len(options["callbacks"][1].seen) == 3


@every_copy
def test_a_copy_of_an_interrupted_training_goes_on_as_the_model_does(copied: Callable) -> None:
    def training() -> tuple[xpnet.Model, dict[str, Any]]:
        options = companions()
        options["callbacks"][0].restore = False
        return overfitting(), {"batch_size": 20, **options}

    whole, wanted = training()
    whole.fit(*NOISY[0], epochs=5, **wanted)
    model, options = training()
    stop = StopAt(2, 2)
    model.fit(*NOISY[0], epochs=5, **{**options, "callbacks": [*options["callbacks"], stop]})
    assert (model.epoch, model.epoch_step) == (2, 2)
    for each, given in ((copied(model), training()[1]), (model, options)):
        each.fit(*NOISY[0], epochs=5 - each.epoch, **given)
        assert result(each, given) == result(whole, wanted)
        assert_same(each.backend, each.params, fetch(whole.backend, whole.params))


def test_new_companions_of_an_interrupted_training_are_new() -> None:
    model, options = overfitting(), companions()
    model.fit(*NOISY[0], batch_size=20, callbacks=[StopAt(2, 2), options["callbacks"][1]])
    assert len(options["callbacks"][1].seen) == 2
    other = Losses()
    model.fit(*NOISY[0], epochs=1, batch_size=20, callbacks=[other])
    assert len(other.seen) == 1


def test_other_parameters_are_another_training() -> None:
    """After an interrupted epoch, parameters are assigned: the epoch restarts, and the callbacks do."""
    model, seen = overfitting(), Losses()
    model.fit(*NOISY[0], batch_size=20, callbacks=[StopAt(2, 2), seen])
    model.params = overfitting(3).params
    model.fit(*NOISY[0], epochs=1, batch_size=20, callbacks=[seen])
    assert (model.epoch, len(seen.seen)) == (3, 1)


def test_a_checkpoint_that_has_been_loaded_goes_on_once(tmp_path: Path) -> None:
    model, options = overfitting(), companions()
    model.fit(*NOISY[0], epochs=2, **options)
    model.save_checkpoint(tmp_path / "checkpoint")
    model.load_checkpoint(tmp_path / "checkpoint")
    for epochs, seen in ((3, 5), (3, 3)):
        model.fit(*NOISY[0], epochs=epochs, **options)
        assert len(options["callbacks"][1].seen) == seen


def test_checkpoints_of_another_training_are_saved_too(tmp_path: Path) -> None:
    """The position is that of the checkpoint which the same object saved for another model."""
    checkpoints = xpnet.Checkpoints(tmp_path)
    for _ in range(2):
        overfitting().fit(*NOISY[0], batch_size=20, callbacks=[StopAt(0, 2), checkpoints])
        (path,) = tmp_path.iterdir()
        path.unlink()


def test_a_callback_may_train_another_model_but_not_its_own() -> None:
    class Nested(Callback):
        def __init__(self, other: xpnet.Model | None = None) -> None:
            self.other = other

        def on_step(self, model: xpnet.Model, step: int, n_steps: int) -> None:
            (self.other or model).fit(X, Y, epochs=1)

    other, alone = small(), small()
    model = small()
    model.fit(X, Y, epochs=2, batch_size=1, callbacks=[Nested(other)])
    alone.fit(X, Y, epochs=2, batch_size=1)
    assert (model.epoch, other.epoch) == (2, 6)
    assert_same(model.backend, model.params, fetch(alone.backend, alone.params))
    model = small()
    with pytest.raises(xpnet.Error, match="fit: expected no other fit of this model to run, got one"):
        model.fit(X, Y, epochs=2, batch_size=1, callbacks=[Nested()])
    model.fit(X, Y, epochs=1, batch_size=1)
    assert model.epoch == 1


def test_patience_counts_from_the_start_of_this_fit() -> None:
    """A loss that is NaN in the first epochs is no improvement, and no reason to stop before patience is over."""
    early = Watched([1, 1, 1, math.nan, 5, 4, 4, 4], patience=2)
    model = fit(EarlyStopping(9))[0]
    model.epoch = 3
    data = np.zeros((4, 4)), np.array([0, 1, 2, 0])
    assert len(model.fit(*data, epochs=5, validation=data, callbacks=early)) == 5
    assert (early.best, early.best_epoch) == (-4, 6)


@dataclass
class Counter(Callback):
    """Not hashable, as data classes are that can be compared."""

    epochs: int = 0

    def on_epoch(self, model: xpnet.Model, metrics: EpochMetrics) -> None:
        self.epochs += 1

    def state(self) -> dict[str, Any]:
        return {"epochs": self.epochs}

    def load_state(self, state: dict[str, Any]) -> None:
        self.epochs = state["epochs"]


@dataclass(frozen=True, slots=True)
class Memory(schedules.Schedule):
    """Keeps its state in a list, which is all that a frozen class can change."""

    losses: list[float] = field(default_factory=list)

    def __call__(self, epoch: float) -> float:
        return 0.5 ** len(self.losses)

    def on_epoch(self, validation_loss: float | None) -> None:
        self.losses.append(1.0)

    def state(self) -> dict[str, Any]:
        return {"losses": self.losses}

    def load_state(self, state: dict[str, Any]) -> None:
        self.losses[:] = state["losses"]


def test_data_classes_start_afresh_too() -> None:
    counter, memory = Counter(), Memory()
    for _ in range(2):
        model = small()
        model.fit(X, Y, epochs=3, schedule=memory, callbacks=counter)
        assert counter.epochs == 3
        assert [metrics.learning_rate for metrics in model.history] == [0.1, 0.05, 0.025]
    assert counter == Counter(3)


def test_recorders_of_a_run_start_afresh(tmp_path: Path) -> None:
    best, timer = Best(tmp_path / "best.npz"), Timer()
    data = np.eye(3), np.array([0, 1, 1])
    for epochs in (2, 1):
        model = small()
        model.fit(*data, epochs=epochs, validation=data, callbacks=[best, timer])
        assert best.metrics in model.history
        assert timer.seconds > sum(metrics.seconds for metrics in model.history)
        assert timer.seconds < 1000
        timer.before += 1000


def test_early_stopping_hears_of_an_epoch_before_it_stops() -> None:
    """A fit that was interrupted between the end of an epoch and its news to `EarlyStopping` goes on."""

    class Interrupts(Callback):
        def on_epoch(self, model: Any, metrics: Any) -> None:
            if metrics.epoch == 3:
                raise KeyboardInterrupt

    def make() -> xpnet.Model:
        return xpnet.Model(nn.Linear(2, 2), losses.CrossEntropy(), optim.SGD(0.5))

    x, y = np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([0, 1])
    stopping = EarlyStopping(2, "train_loss", min_delta=0.05, restore=False)  # better again in epoch 3 alone
    whole, cut = make(), make()
    whole.fit(x, y, epochs=9, callbacks=stopping)
    with pytest.raises(KeyboardInterrupt):
        cut.fit(x, y, epochs=9, callbacks=[Interrupts(), stopping])
    cut.fit(x, y, epochs=6, callbacks=stopping)
    assert (cut.epoch, stopping.best_epoch) == (whole.epoch, 3) == (5, 3)

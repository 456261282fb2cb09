"""Ctrl-C at any line of `fit`, and a second one while the first is handled: the next `fit` goes on exactly."""

import sys
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any

import numpy as np
import pytest

import xpnet
from laws import assert_same, fetch
from xpnet import data, losses, nn, optim, schedules
from xpnet._training import batches, given, hooks, loop, sources, state
from xpnet._training.state import State
from xpnet.backend import NumPy
from xpnet.callbacks import Callback, EarlyStopping
from xpnet.errors import DivergedError
from xpnet.metrics import EpochMetrics
from xpnet.tree import Tree

ENGINE = {module.__file__ for module in (batches, given, hooks, loop, sources, state)}
RNG = np.random.default_rng(0)
X, Y, X_OTHER, Y_OTHER = (
    RNG.normal(size=(8, 3)),
    RNG.integers(2, size=8),
    RNG.normal(size=(5, 3)),
    RNG.integers(2, size=5),
)


class CtrlC:
    """Raises KeyboardInterrupt at the line with this number, counted over the lines run in the engine.

    With the number 0 it records all lines.
    """

    def __init__(self, at: int, files: set[str | None] = ENGINE) -> None:
        self.left, self.files, self.where = at, files, ""
        self.seen: list[tuple[int, str]] = []

    def __call__(self, frame: FrameType, event: str, argument: Any) -> Any:
        if frame.f_code.co_filename not in self.files:
            return None
        if event == "line":
            self.left -= 1
            if self.left < 0:
                self.seen.append((frame.f_lineno, self.callers(frame)))
            if self.left == 0:
                self.where = f"line {frame.f_lineno} of {self.callers(frame)}"
                raise KeyboardInterrupt
        return self

    def callers(self, frame: FrameType | None) -> str:
        """The functions of the engine that are running, the inner one first."""
        names = []
        while frame is not None:
            if frame.f_code.co_filename in self.files:
                names.append(frame.f_code.co_name)
            frame = frame.f_back
        return ", ".join(names)


class Recorder(Callback):
    """Records each step and epoch, and interrupts the end of `fit` if asked to."""

    def __init__(self) -> None:
        self.steps: list[tuple[int, int]] = []
        self.epochs: list[int] = []
        self.sums = np.zeros(2)
        self.second: CtrlC | None = None

    def on_step(self, model: xpnet.Model, step: int, n_steps: int) -> None:
        self.steps.append((model.epoch, step))

    def on_epoch(self, model: xpnet.Model, metrics: EpochMetrics) -> None:
        self.epochs.append(metrics.epoch)
        self.sums += metrics.epoch

    def on_end(self, model: xpnet.Model) -> None:
        if self.second is not None:
            sys.settrace(self.second)
            assert np.isfinite(model.evaluate(X, Y).loss)

    def state(self) -> dict[str, Any]:
        return {"steps": self.steps, "epochs": self.epochs, "sums": self.sums}

    def load_state(self, state: dict[str, Any]) -> None:
        self.steps, self.epochs, self.sums = list(state["steps"]), list(state["epochs"]), state["sums"]


class Training:
    """A training with every kind of state: of the network, of the optimizer, of a schedule and of callbacks."""

    def __init__(self, **options: Any) -> None:
        net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm(4), nn.Dropout(0.2), nn.Linear(4, 2))
        self.model = xpnet.Model(net, losses.CrossEntropy(), optim.Adam(0.05))
        self.schedule = schedules.ReduceOnPlateau(0.5, 0)
        self.recorder = Recorder()
        self.stopping = EarlyStopping(9, restore=False)
        self.options = options

    def fit(self) -> None:
        batches = self.options.get("x")
        self.model.fit(
            X if batches is None else batches,
            Y if batches is None else None,
            epochs=2 - self.model.epoch,
            validation=(X_OTHER, Y_OTHER),
            schedule=self.schedule,
            callbacks=[self.recorder, self.stopping],
            **({"batch_size": 4, **self.options} if batches is None else {}),
        )

    def fit_until(self, interrupt: CtrlC) -> bool:
        """Whether the interrupt came before the end of `fit`."""
        before = sys.gettrace()
        sys.settrace(interrupt)
        try:
            self.fit()
        except KeyboardInterrupt:
            return True
        finally:
            sys.settrace(before)
        return False

    @property
    def is_over(self) -> bool:
        """Whether all has been done, so that another `fit` would be a new one."""
        return self.model.epoch == 2 and self.stopping.best_epoch == 2

    def check(self, unbroken: "Training", where: str) -> None:
        """Everything is as after the training that nobody interrupted."""
        assert_same(self.model.backend, self.model.state, fetch(self.model.backend, unbroken.model.state))
        assert [row[:6] for row in self.model.history] == [row[:6] for row in unbroken.model.history], where
        assert self.recorder.epochs == unbroken.recorder.epochs, where
        assert self.recorder.sums.tolist() == unbroken.recorder.sums.tolist(), where
        if "tell" not in where:  # who is interrupted in `on_step` itself is not called again
            assert self.recorder.steps == unbroken.recorder.steps, where
        assert self.schedule.state() == unbroken.schedule.state(), where
        assert self.stopping.state() == unbroken.stopping.state(), where


@pytest.fixture(scope="module")
def unbroken() -> Training:
    training = Training()
    training.fit()
    return training


PARTS = 6  # of the lines, so that each test is short


def first_and_last(seen: list[tuple[int, str]]) -> list[int]:
    """When each line is reached for the first and for the last time, from each caller; counted from 1."""
    first = {where: number for number, where in reversed(list(enumerate(seen, 1)))}
    last = {where: number for number, where in enumerate(seen, 1)}
    return sorted({*first.values(), *last.values()})


def check_lines(unbroken: Training, part: int = 0, parts: int = 1, caller: str = "", **options: Any) -> None:
    """Interrupt a training at each of these lines, and go on."""
    whole = CtrlC(0)
    assert not Training(**options).fit_until(whole)
    lines = [line for line in first_and_last(whole.seen) if caller in whole.seen[line - 1][1]]
    for line in lines[part::parts]:
        training, interrupt = Training(**options), CtrlC(line)
        assert training.fit_until(interrupt)
        if not training.is_over:
            training.fit()
        training.check(unbroken, interrupt.where)
    assert len(lines) > 5


@pytest.mark.parametrize("part", range(PARTS))
def test_an_interrupt_at_any_line_changes_nothing(part: int, unbroken: Training) -> None:
    check_lines(unbroken, part, PARTS)


def test_an_interrupt_of_data_that_comes_in_chunks_changes_nothing(unbroken: Training) -> None:
    check_lines(unbroken, caller="_streamed_ranges", data_on_device=False)


class Shuffled:
    """The batches of the arrays, in the same order."""

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __iter__(self) -> Iterator[Any]:
        return data.batches(X, Y, 4, epoch=self.epoch)


def test_an_interrupt_of_given_batches_changes_nothing(unbroken: Training) -> None:
    check_lines(unbroken, parts=2, caller="ranges", x=Shuffled())


def test_an_interrupt_of_many_steps_at_once_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(NumPy, "steps_at_once", 2)
    monkeypatch.setattr(Recorder, "every_step", False)
    unbroken = Training(batch_size=2)
    unbroken.fit()
    assert unbroken.recorder.steps == [(0, 2), (0, 4), (1, 2), (1, 4)]
    check_lines(unbroken, parts=3, caller="_take_steps", batch_size=2)


def test_a_second_interrupt_changes_nothing(unbroken: Training) -> None:
    """The first comes in a step, the second while the model goes back to the start of the epoch."""
    whole = CtrlC(0)
    Training().fit_until(whole)
    in_a_step = [
        number for number, (_, where) in enumerate(whole.seen, 1) if where.startswith("news_of_step")
    ]
    for second in range(1, 100):
        training, interrupt = Training(), CtrlC(in_a_step[3])
        training.recorder.second = again = CtrlC(second)
        assert training.fit_until(interrupt)
        training.recorder.second = None
        training.fit()
        training.check(unbroken, f"{interrupt.where}, and then {again.where}")
        if not again.where:
            break
    assert 8 < second < 99


def test_a_step_that_fails_in_another_thread_is_undone_for_all() -> None:
    """The thread goes back to the start of the epoch; the others only look."""

    class Fails(optim.SGD):
        def update(self, params: Tree, grads: Tree, state: Tree) -> tuple[Tree, Tree]:
            if params[0]["bias"].any():  # the second step
                params[0]["bias"][...] = 99.0
                raise ZeroDivisionError
            return super().update(params, grads, state)

    model = xpnet.Model(nn.Sequential(nn.Linear(3, 2)), losses.CrossEntropy(), Fails(0.1))
    before = fetch(model.backend, model.params)
    failed: list[BaseException] = []

    def fit() -> None:
        try:
            model.fit(X, Y, epochs=1, batch_size=4)
        except ZeroDivisionError as error:
            failed.append(error)

    thread = threading.Thread(target=fit)
    thread.start()
    thread.join()
    assert len(failed) == 1
    assert model.epoch_step == 0
    assert_same(model.backend, model.params, before)


def test_another_thread_sees_the_step_before_the_one_that_runs() -> None:
    """A display that looks in from its own thread does not disturb the training."""
    seen: list[int] = []

    class Looks(optim.SGD):
        def update(self, params: Tree, grads: Tree, state: Tree) -> tuple[Tree, Tree]:
            thread = threading.Thread(target=lambda: seen.append(model.epoch_step))
            thread.start()
            thread.join()
            return super().update(params, grads, state)

    model = xpnet.Model(nn.Sequential(nn.Linear(3, 2)), losses.CrossEntropy(), Looks(0.1))
    alone = xpnet.Model(nn.Sequential(nn.Linear(3, 2)), losses.CrossEntropy(), optim.SGD(0.1))
    model.fit(X, Y, epochs=1, batch_size=3)
    alone.fit(X, Y, epochs=1, batch_size=3)
    assert seen == [0, 1, 2]
    assert_same(model.backend, model.params, fetch(alone.backend, alone.params))


def test_a_diverged_epoch_that_was_interrupted_at_its_end_is_told_of_by_the_next_fit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = xpnet.Model(nn.Linear(3, 2), losses.CrossEntropy(), optim.SGD(1e39))

    def interrupted(state: State) -> bool:
        raise KeyboardInterrupt

    with np.errstate(all="ignore"):
        with monkeypatch.context() as patch:
            patch.setattr("xpnet._training.divergence.has_diverged", interrupted)
            with pytest.raises(KeyboardInterrupt):
                model.fit(X, Y, epochs=1, batch_size=4)
        with pytest.raises(
            DivergedError, match="it was so when the interrupted epoch was resumed; restore a"
        ):
            model.fit(X, Y, epochs=1, batch_size=4)

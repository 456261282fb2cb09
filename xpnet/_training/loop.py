"""The training loop: epochs of steps, each followed by its measurements."""

import math
import time
from collections.abc import Callable, Generator, Iterable
from contextlib import closing
from typing import NamedTuple

import numpy as np

from xpnet import tree
from xpnet._training import divergence, measuring
from xpnet._training.divergence import StepRange
from xpnet._training.hooks import Hooks
from xpnet._training.measuring import Measures
from xpnet._training.program import Program
from xpnet._training.sources import Source
from xpnet._training.state import Start, State, Training
from xpnet._training.step import zero_totals
from xpnet._util.text import constructor_call
from xpnet._util.warning import warn
from xpnet.data.batches import slices
from xpnet.errors import DivergedError, ShapeError
from xpnet.losses import CrossEntropy
from xpnet.metrics import EpochMetrics, History
from xpnet.schedules import Schedule

HUGE_LOSS = 1000.0  # a mean cross-entropy; equal probabilities of a million classes have 13.8
LARGE_INPUT = 100.0
SOME = 1000  # examples to look at


class _Epoch(NamedTuple):
    """An epoch whose steps are done: their duration, and where they started."""

    seconds: float
    start: Start


def run(
    current: Callable[[], Program],
    training: Training,
    source: Source,
    *,
    epochs: int,
    measures: Measures,
    hooks: Hooks,
) -> History:
    """Train for a number of epochs, as `Model.fit` does. Returns the metrics of these epochs.

    An exception at any line, such as Ctrl-C, leaves a training that the next call continues.

    Arguments:
        current: gives the program of an epoch: a callback may assign another optimizer, or another l2.
    """
    source.require_resumable(training.progress)
    training.stopping = False
    hooks.restore_states()
    training.progress = training.progress._replace(batches=source.record)
    history = History()
    _warn_if_over(hooks.schedule, training.progress.epoch, epochs)
    with hooks.from_start_to_end():
        training.unfinished = True
        hooks.tell()  # those that an interrupted call of `fit` did not reach
        for _ in range(epochs):
            program = current()
            if program.backend.any_process(training.stopping):
                break
            training.unfinished = True  # also after a callback has assigned other parameters
            source.begin(training.progress)
            done = _train_epoch(program, training, source, hooks)
            while done is None and not training.stopping and current() is not program:  # another optimizer
                program = current()
                done = _train_epoch(program, training, source, hooks)
            if done is None:
                break
            metrics = measuring.epoch_metrics(program, training, source, measures, *done)
            if metrics.epoch == 1:
                _warn_of_scale(program, source, metrics)
            progress = training.progress.after_epoch(metrics, hooks.news_of_epoch(metrics))
            training.progress = progress._replace(batches=source.record)
            history.append(metrics)
            hooks.tell()
    training.unfinished = training.unfinished and training.progress.epoch_step > 0
    return history


def _warn_if_over(schedule: Schedule | None, epoch: int, epochs: int, what: str = "model") -> None:
    """Warn if the schedule does nothing in these epochs: it is over, or all its factors are 0."""
    if schedule is None or epochs == 0:
        return
    if schedule.is_over(epoch):
        problem = f"is over at epoch {epoch}, where the {what} is: its factor stays {schedule(epoch):g}"
    elif not any(schedule(epoch + half / 2) for half in range(2 * epochs)):
        problem = f"is 0 from epoch {epoch}, where the {what} is, to epoch {epoch + epochs}"
    else:
        return
    way_out = f"pass a schedule that ends at epoch {epoch + epochs}, or set {what}.epoch = 0"
    warn(f"fit: the schedule {constructor_call(schedule)} {problem}; {way_out}")


def _warn_of_scale(program: Program, source: Source, metrics: EpochMetrics) -> None:
    """Warn of a cross-entropy that is huge because inputs are, such as pixels from 0 to 255.

    Steps are then so long that the units of ReLU layers may be 0 for good. Good data cost nothing.
    """
    backend, objective = program.backend, program.objective
    if not (metrics.train_loss > HUGE_LOSS and isinstance(objective.loss, CrossEntropy)):
        return
    if objective.net.integers is None and not backend.spans_processes:
        largest = float(np.max(np.abs(backend.on_host(source.x[:SOME, ...])[:])))
        if largest >= LARGE_INPUT:
            warn(
                f"fit: the loss of epoch 1 is {metrics.train_loss:.1e}, and inputs reach {largest:g}: scale "
                "them, pixels by x / 255, other numbers by data.normalize"
            )


def _train_epoch(program: Program, training: Training, source: Source, hooks: Hooks) -> _Epoch | None:
    """Run one epoch of steps. Returns None if it was interrupted."""
    backend, progress = program.backend, training.progress
    rate = float(program.optimizer.learning_rate)
    rates = source.learning_rates(rate, hooks.schedule, progress.epoch)
    state = training.state
    progress = progress._replace(learning_rate=rates[max(progress.epoch_step - 1, 0)], news=None)
    if not progress.epoch_step:
        totals = zero_totals(program.objective, backend, source.x, source.y)
        zero = backend.from_host(np.array(0, np.int32))
        state = state._replace(totals=totals, finite_steps=zero)
        progress = progress._replace(epoch_seconds=0.0)
    training.change(state, progress)
    start = hooks.start(backend)

    def ranges() -> Generator[StepRange, None, None]:
        try:
            yield from source.ranges(None if hooks.schedule is None else rates, progress.epoch_step)
        except ShapeError:  # values that do not fit, found when they were read
            training.go_back(start)
            raise

    backend.synchronize()
    began = time.perf_counter() - progress.epoch_seconds
    try:
        with closing(ranges()) as steps:
            _take_steps(program, training, source, steps, rates, hooks, start, began)
    except BaseException as error:
        if lost := source.lost():
            error.add_note(lost)
        raise
    backend.synchronize()
    seconds = time.perf_counter() - began
    if divergence.has_diverged(training.state):
        raise _diverged(program, training, source, start, ranges(), rates)
    if not source.is_complete(training.progress.epoch_step):
        return None
    source.end()
    return _Epoch(seconds, start)


def _take_steps(
    program: Program,
    training: Training,
    source: Source,
    ranges: Iterable[StepRange],
    rates: list[float],
    hooks: Hooks,
    start: Start,
    began: float,
) -> None:
    """Run these steps, until the last one, until `stop`, or until a callback assigns another optimizer."""
    backend, n_steps = program.backend, source.n_steps
    at_once = 1 if backend.any_process(hooks.every_step) else backend.steps_at_once
    stops = backend.agreement()
    run_steps = backend.quiet(program.run_steps)
    for first, data, rows, begin in ranges:
        for part in slices(rows[0].shape[0], at_once):
            if part.stop <= begin:
                continue
            step = first + part.stop
            state, progress = training.begin_step(start)
            try:
                state = run_steps(state, data, rows, max(part.start, begin), part.stop)
            except BaseException as error:
                try:
                    training.settle()
                except Exception as another:
                    error.add_note(f"the model could not be restored to the start of the epoch: {another!r}")
                raise
            seconds, news = time.perf_counter() - began, hooks.news_of_step(step, n_steps)
            training.end_step(state, progress.after_step(step, seconds, rates[step - 1], news))
            if news is not None:
                hooks.tell()
                if training.progress.epoch_step != step:  # a callback has assigned parameters, to go on from
                    training.progress = training.progress._replace(epoch_step=step)
                    training.unfinished = True
            if stops(training.stopping):
                training.stopping = True  # it may be another process that stops
                return
            if training.state is not state and _is_of_another(state, training.state):
                return


def _is_of_another(state: State, now: State) -> bool:
    """Whether a callback has assigned an optimizer whose state has other arrays."""
    return tree.shapes(now.optimizer) != tree.shapes(state.optimizer)


def _diverged(
    program: Program,
    training: Training,
    source: Source,
    start: Start,
    ranges: Generator[StepRange, None, None],
    rates: list[float],
) -> DivergedError:
    """The error that names where the epoch diverged. Restores the training to the start of the epoch."""
    progress, skipped = training.progress, start.progress.epoch_step
    done, finite = progress.epoch_step, int(training.state.finite_steps)
    loss = float(training.state.totals.loss)
    training.go_back(start)
    found = None
    if source.repeats:
        with closing(ranges):
            found = divergence.trace(
                start.restored(),
                ranges,
                program.objective,
                program.backend.quiet(program.run_steps),
                program.make_step,
                program.backend,
            )
    of = "" if source.n_steps == math.inf else f" of {source.n_steps}"
    if finite < done:
        steps, rate = f"step {finite + 1}{of}", rates[finite]
        problem = f"expected a finite loss, got {loss}"
    else:
        steps, rate = f"steps {skipped + 1} to {done}{of}", rates[done - 1]
        problem = "expected finite parameters, got infinite or NaN"
    again = f"run again from step {skipped + 1}"
    if done == skipped:
        again = "it was so when the interrupted epoch was resumed; restore a snapshot or load a checkpoint"
    elif not source.repeats:
        again = "where it began cannot be found: the batches can be read only once; pass a list of batches"
    elif found is None:
        again += f", all values were finite: {source.otherwise}"
    else:
        again += f", the first value that is not finite is {found.where}, in step {found.step}"
        again += source.entry(found) if found.is_input else "; a lower learning rate may help"
    return DivergedError(f"epoch {progress.epoch + 1}, {steps}, learning rate {rate:g}: {problem}; {again}")

"""The training loop: epochs of steps, each followed by its measurements."""

import functools
import itertools
import time
import warnings
from collections.abc import Generator, Iterable
from contextlib import closing
from typing import Any, NamedTuple

import numpy as np

from xpnet import tree
from xpnet._training import divergence, measuring, outcome
from xpnet._training.divergence import StepRange
from xpnet._training.hooks import Hooks
from xpnet._training.judging import Weighted
from xpnet._training.measuring import Measures
from xpnet._training.program import Program
from xpnet._training.state import Batches, Start, Training
from xpnet._training.step import zero_totals
from xpnet._util.text import constructor_call
from xpnet.backend import Backend
from xpnet.data.batches import batch_indices, slices
from xpnet.data.stream import chunks
from xpnet.errors import ConfigError, DivergedError, ShapeError
from xpnet.metrics import History
from xpnet.schedules import Schedule
from xpnet.tree import Array


class Data(NamedTuple):
    """Checked inputs and targets, on the device or on the host."""

    x: Array
    y: Array | Weighted
    on_device: bool = True


class _Epoch(NamedTuple):
    """An epoch whose steps are done: their duration, and where they started."""

    seconds: float
    start: Start


def run(
    program: Program,
    training: Training,
    data: Data,
    *,
    epochs: int,
    batch_size: int,
    shuffle: bool,
    measures: Measures,
    hooks: Hooks,
) -> History:
    """Train for a number of epochs, as `Model.fit` does. Returns the metrics of these epochs.

    An exception at any line, such as Ctrl-C, leaves a training that the next call continues.
    """
    progress = training.progress
    batches = Batches(data.x.shape[0], batch_size, shuffle)
    if progress.epoch_step and progress.batches != batches:
        raise ConfigError(
            f"fit: expected {progress.batches}, as in the interrupted epoch {progress.epoch + 1}, "
            f"got {batches}; set model.epoch_step = 0 to restart the epoch"
        )
    training.stopping = False
    hooks.restore_states()
    training.progress = training.progress._replace(batches=batches)
    history = History()
    buffers = _Buffers(program.backend)
    _warn_if_over(hooks.schedule, training.progress.epoch, epochs)
    with hooks.from_start_to_end():
        training.unfinished = True
        hooks.tell()
        for _ in range(epochs):
            if program.backend.any_process(training.stopping):
                break
            training.unfinished = True  # also after a callback has assigned other parameters
            done = _train_epoch(program, training, data, batches, hooks, buffers)
            if done is None:
                break
            metrics = measuring.epoch_metrics(program, training, data.x, data.y, measures, *done)
            training.progress = training.progress.after_epoch(metrics, hooks.news_of_epoch(metrics))
            history.append(metrics)
            hooks.tell()
    training.unfinished = training.unfinished and training.progress.epoch_step > 0
    return history


def _warn_if_over(schedule: Schedule | None, epoch: int, epochs: int) -> None:
    """Warn if the schedule does nothing in these epochs: it is over, or all its factors are 0."""
    if schedule is None or epochs == 0:
        return
    if schedule.is_over(epoch):
        problem = f"is over at epoch {epoch}, where the model is: its factor stays {schedule(epoch):g}"
    elif not any(schedule(epoch + half / 2) for half in range(2 * epochs)):
        problem = f"is 0 from epoch {epoch}, where the model is, to epoch {epoch + epochs}"
    else:
        return
    way_out = f"pass a schedule that ends at epoch {epoch + epochs}, or set model.epoch = 0"
    warnings.warn(f"fit: the schedule {constructor_call(schedule)} {problem}; {way_out}", stacklevel=4)


class _Buffers:
    """The device's arrays for chunks of data from the host. Each chunk overwrites the one before it.

    Arguments:
        backend: the backend.
    """

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.arrays: list[Array] = []

    def load(self, x: np.ndarray, y: Any) -> tuple[Array, Any]:
        """Arrays with x and y in their first rows; y may have weights."""
        pairs = itertools.zip_longest(self.arrays, tree.leaves((x, y)))
        self.arrays = [self.backend.refilled(buffer, array) for buffer, array in pairs]
        loaded, *target = self.arrays
        return loaded, Weighted(*target) if isinstance(y, Weighted) else target[0]


def _train_epoch(
    program: Program,
    training: Training,
    data: Data,
    batches: Batches,
    hooks: Hooks,
    buffers: _Buffers,
) -> _Epoch | None:
    """Run one epoch of steps. Returns None if it was interrupted."""
    backend, progress = program.backend, training.progress
    stacks = batch_indices(
        data.x, batches.batch_size, seed=program.seed, epoch=progress.epoch, shuffle=batches.shuffle
    )
    n_steps = sum(indices.shape[0] for indices in stacks)
    rates = _learning_rates(program, progress.epoch, hooks.schedule, n_steps)
    state = training.state
    progress = progress._replace(learning_rate=rates[max(progress.epoch_step - 1, 0)], news=None)
    if not progress.epoch_step:
        totals = zero_totals(program.objective, backend, data.x, data.y)
        zero = backend.from_host(np.array(0, np.int32))
        state = state._replace(totals=totals, finite_steps=zero)
        progress = progress._replace(epoch_seconds=0.0)
    training.change(state, progress)
    start = hooks.start(backend)

    def ranges() -> Generator[StepRange, None, None]:
        given = (data.x, data.y), stacks, None if hooks.schedule is None else rates, progress.epoch_step
        try:
            yield from _ranges(backend, *given) if data.on_device else _streamed_ranges(buffers, *given)
        except ShapeError:  # values that do not fit, found when their chunk was read
            training.go_back(start)
            raise

    backend.synchronize()
    began = time.perf_counter() - progress.epoch_seconds
    with closing(ranges()) as steps:
        _take_steps(program, training, steps, rates, hooks, start, began)
    backend.synchronize()
    seconds = time.perf_counter() - began
    if divergence.has_diverged(training.state):
        with closing(ranges()) as steps:
            raise _diverged(program, training, start, steps, rates, data)
    return _Epoch(seconds, start) if training.progress.epoch_step == n_steps else None


def _ranges(
    backend: Backend, data: tuple[Array, Any], stacks: list[Array], rates: list[float] | None, skipped: int
) -> Generator[StepRange, None, None]:
    """The steps of these stacks of batches, without the first `skipped` steps."""
    first = 0
    for indices in stacks:
        n = indices.shape[0]
        their_rates = None if rates is None else backend.asarray(rates[first : first + n])
        if skipped < first + n:
            yield StepRange(first, data, (indices, their_rates), begin=max(skipped - first, 0))
        first += n


def _streamed_ranges(
    buffers: _Buffers,
    data: tuple[Any, Any],
    stacks: list[Array],
    rates: list[float] | None,
    skipped: int,
) -> Generator[StepRange, None, None]:
    """`_ranges` for data on the host, which comes to the device in chunks."""
    backend, first = buffers.backend, 0
    for indices in stacks:
        n_before, batch_size = max(skipped - first, 0), indices.shape[1]
        first += min(n_before, indices.shape[0])
        own = backend.own_examples(batch_size)
        with closing(chunks(*data, indices[n_before:], data[0].dtype, None, own)) as stack_chunks:
            for x, y, positions in stack_chunks:
                n = positions.shape[0]
                their_rates = None if rates is None else backend.asarray(rates[first : first + n])
                if own is None:
                    yield StepRange(first, buffers.load(x, y), (backend.asarray(positions), their_rates))
                else:
                    place = functools.partial(_batches, backend, positions, batch_size)
                    yield StepRange(first, (), (*tree.map(place, (x, y)), None, their_rates))
                first += n


def _batches(backend: Backend, positions: np.ndarray, batch_size: int, chunk: np.ndarray) -> Array:
    """The batches of a chunk on many devices, by the positions of the examples that this process places."""
    return backend.from_batches(chunk[positions], batch_size)


def _take_steps(
    program: Program,
    training: Training,
    ranges: Iterable[StepRange],
    rates: list[float],
    hooks: Hooks,
    start: Start,
    began: float,
) -> None:
    """Run these steps, until the last one or until `stop`."""
    backend = program.backend
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
            seconds, news = time.perf_counter() - began, hooks.news_of_step(step, len(rates))
            training.end_step(state, progress.after_step(step, seconds, rates[step - 1], news))
            if news is not None:
                hooks.tell()
            if stops(training.stopping):
                training.stopping = True  # it may be another process that stops
                return


def _diverged(
    program: Program,
    training: Training,
    start: Start,
    ranges: Iterable[StepRange],
    rates: list[float],
    data: Data,
) -> DivergedError:
    """The error that names where the epoch diverged. Restores the training to the start of the epoch."""
    progress, skipped = training.progress, start.progress.epoch_step
    done, finite = progress.epoch_step, int(training.state.finite_steps)
    loss = float(training.state.totals.loss)
    training.go_back(start)
    found = divergence.trace(
        start.restored(),
        ranges,
        program.objective,
        program.backend.quiet(program.run_steps),
        program.make_step,
        program.backend,
    )
    if finite < done:
        steps, rate = f"step {finite + 1} of {len(rates)}", rates[finite]
        problem = f"expected a finite loss, got {loss}"
    else:
        steps, rate = f"steps {skipped + 1} to {done} of {len(rates)}", rates[done - 1]
        problem = "expected finite parameters, got infinite or NaN"
    again = f"run again from step {skipped + 1}"
    if done == skipped:
        again = "it was so when the interrupted epoch was resumed; restore a snapshot or load a checkpoint"
    elif found is None:
        again += ", all values were finite: this device is not deterministic"
    else:
        again += f", the first value that is not finite is {found.where}, in step {found.step}"
        again += (
            _entry(program.backend, data, found) if found.is_input else "; a lower learning rate may help"
        )
    return DivergedError(f"epoch {progress.epoch + 1}, {steps}, learning rate {rate:g}: {problem}; {again}")


def _entry(backend: Backend, data: Data, found: divergence.Origin) -> str:
    """The first value of the data that is not finite, if that is the origin."""
    named = {"in the inputs": ("x", data.x), "in the targets": ("y", data.y)}
    name, array = named.get(found.where, ("", None))
    entry = None if array is None else outcome.first_not_finite(backend, array, name)
    return f" ({entry})" if entry else ""


def _learning_rates(program: Program, epoch: int, schedule: Schedule | None, n_steps: int) -> list[float]:
    """The learning rate at each step of the epoch."""
    rate = float(program.optimizer.learning_rate)
    if schedule is None:
        return [rate] * n_steps
    return [rate * factor for factor in schedule.factors_of_steps(epoch, n_steps)]

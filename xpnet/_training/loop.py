"""The training loop: epochs of steps, each followed by validation."""

import itertools
import time
from collections.abc import Generator, Iterable, Sequence
from contextlib import closing
from typing import Any, NamedTuple

import numpy as np

from xpnet import tree
from xpnet._training import divergence, evaluation
from xpnet._training.divergence import StepRange
from xpnet._training.judging import Weighted
from xpnet._training.program import Program
from xpnet._training.state import Batches, Progress, Training
from xpnet._training.step import zero_totals
from xpnet.backend import Backend
from xpnet.callbacks import Callback, Hooks, Stateful
from xpnet.data.batches import batch_indices, slices
from xpnet.data.stream import chunks
from xpnet.errors import CheckpointError, ConfigError, DivergedError
from xpnet.metrics import EpochMetrics
from xpnet.schedules import Schedule
from xpnet.tree import Array, Tree


class Data(NamedTuple):
    """Checked inputs and targets, on the device or on the host."""

    x: Array
    y: Array | Weighted
    on_device: bool = True


def run(
    program: Program,
    training: Training,
    data: Data,
    *,
    epochs: int,
    batch_size: int,
    shuffle: bool,
    validation: tuple[Array, Array] | None,
    schedule: Schedule | None,
    hooks: Hooks,
) -> list[EpochMetrics]:
    """Train for a number of epochs, as `Model.fit` does. Returns the metrics of these epochs."""
    progress = training.progress
    batches = Batches(data.x.shape[0], batch_size, shuffle)
    if progress.epoch_step and progress.batches != batches:
        raise ConfigError(
            f"fit: expected {progress.batches}, as in the interrupted epoch {progress.epoch + 1}, "
            f"got {batches}; set model.epoch_step = 0 to restart the epoch"
        )
    progress.batches, progress.stopping = batches, False
    _restore_states(progress, schedule, hooks.callbacks)
    history: list[EpochMetrics] = []
    buffers = _Buffers(program.backend)
    with hooks.from_start_to_end():
        for _ in range(epochs):
            if training.progress.stopping:
                break
            seconds = _train_epoch(program, training, data, batches, schedule, hooks, buffers)
            if seconds is None:
                break
            metrics = _epoch_metrics(program, training, batches.examples, seconds, validation)
            training.progress.end_epoch(metrics)
            history.append(metrics)
            if schedule is not None:
                schedule.on_epoch(metrics.validation_loss)
            hooks.on_epoch(metrics)
    return history


def _restore_states(progress: Progress, schedule: Schedule | None, callbacks: Sequence[Callback]) -> None:
    """Name the schedule and the callbacks, and restore their states from a loaded checkpoint."""
    named: dict[str, Stateful] = {} if schedule is None else {"schedule": schedule}
    for callback in callbacks:
        kind = type(callback).__name__
        number = sum(type(other) is type(callback) for other in named.values())
        named[f"{kind}-{number + 1}" if number else kind] = callback
    for name, participant in named.items():
        if name in progress.loaded:
            try:
                participant.load_state(progress.loaded[name])
            except (LookupError, TypeError, AttributeError) as error:
                message = f"fit: expected a checkpoint with the state of {name}, got another ({error!r})"
                raise CheckpointError(message) from error
    progress.participants, progress.loaded = named, {}


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


class _Start(NamedTuple):
    """Where the steps of an epoch start: at its beginning, or where it was interrupted. On the host."""

    state: Tree
    step: int
    seconds: float


def _train_epoch(
    program: Program,
    training: Training,
    data: Data,
    batches: Batches,
    schedule: Schedule | None,
    hooks: Hooks,
    buffers: _Buffers,
) -> float | None:
    """Run one epoch of steps. Returns its duration in seconds, or None if it was interrupted."""
    backend, progress = program.backend, training.progress
    stacks = batch_indices(
        data.x, batches.batch_size, seed=program.seed, epoch=progress.epoch, shuffle=batches.shuffle
    )
    n_steps = sum(indices.shape[0] for indices in stacks)
    rates = _learning_rates(program, progress.epoch, schedule, n_steps)
    progress.learning_rate = rates[max(progress.epoch_step - 1, 0)]
    if not progress.epoch_step:
        totals = zero_totals(program.objective, backend, data.x, data.y)
        zero = backend.from_host(np.array(0, np.int32))
        training.state = training.state._replace(totals=totals, finite_steps=zero)
        progress.epoch_seconds = 0.0
    before = divergence.to_host(backend, training.state)
    start = _Start(before, progress.epoch_step, progress.epoch_seconds)

    def ranges() -> Generator[StepRange, None, None]:
        given = (data.x, data.y), stacks, None if schedule is None else rates, start.step
        return _ranges(backend, *given) if data.on_device else _streamed_ranges(buffers, *given)

    backend.synchronize()
    began = time.perf_counter() - start.seconds
    with closing(ranges()) as steps:
        _take_steps(program, training, steps, rates, hooks, start, began)
    backend.synchronize()
    seconds = time.perf_counter() - began
    if divergence.has_diverged(training.state):
        with closing(ranges()) as steps:
            raise _diverged(program, training, start, steps, rates)
    return seconds if training.progress.epoch_step == n_steps else None


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
        n_before = max(skipped - first, 0)
        first += min(n_before, indices.shape[0])
        with closing(chunks(*data, indices[n_before:], backend.dtype_name)) as stack_chunks:
            for x, y, positions in stack_chunks:
                n = positions.shape[0]
                their_rates = None if rates is None else backend.asarray(rates[first : first + n])
                yield StepRange(first, buffers.load(x, y), (backend.asarray(positions), their_rates))
                first += n


def _take_steps(
    program: Program,
    training: Training,
    ranges: Iterable[StepRange],
    rates: list[float],
    hooks: Hooks,
    start: _Start,
    began: float,
) -> None:
    """Run these steps, until the last one or until `stop`."""
    at_once = 1 if hooks.every_step else program.backend.steps_at_once
    for first, data, rows, begin in ranges:
        for part in slices(rows[0].shape[0], at_once):
            if part.stop <= begin:
                continue
            try:
                training.state = program.run_steps(
                    training.state, data, rows, max(part.start, begin), part.stop
                )
                step = first + part.stop
                training.progress.end_step(step, rates[step - 1], time.perf_counter() - began)
            except BaseException as error:  # a step may have overwritten part of the state
                try:
                    _go_back(program.backend, training, start)
                except Exception as another:
                    error.add_note(f"the model could not be restored to the start of the epoch: {another!r}")
                raise
            hooks.on_step(step, len(rates))
            if training.progress.stopping:
                return


def _go_back(backend: Backend, training: Training, start: _Start) -> None:
    training.state = divergence.from_host(backend, start.state)
    training.progress.epoch_step, training.progress.epoch_seconds = start.step, start.seconds


def _diverged(
    program: Program, training: Training, start: _Start, ranges: Iterable[StepRange], rates: list[float]
) -> DivergedError:
    """The error that names where the epoch diverged. Restores the training to the start of the epoch."""
    progress, skipped = training.progress, start.step
    done, finite = progress.epoch_step, int(training.state.finite_steps)
    loss = float(training.state.totals.loss)
    _go_back(program.backend, training, start)
    found = divergence.trace(
        divergence.from_host(program.backend, start.state),
        ranges,
        program.objective,
        program.run_steps,
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
    if found is None:
        again += ", all values were finite: this device is not deterministic"
    else:
        again += f", the first value that is not finite is {found.where}, in step {found.step}"
        again += "" if found.is_input else "; a lower learning rate may help"
    return DivergedError(f"epoch {progress.epoch + 1}, {steps}, learning rate {rate:g}: {problem}; {again}")


def _learning_rates(program: Program, epoch: int, schedule: Schedule | None, n_steps: int) -> list[float]:
    """The learning rate at each step of the epoch."""
    rate = float(program.optimizer.learning_rate)
    if schedule is None:
        return [rate] * n_steps
    return [rate * schedule(epoch + step / n_steps) for step in range(n_steps)]


def _epoch_metrics(
    program: Program,
    training: Training,
    n: int,
    seconds: float,
    validation: tuple[Array, Array] | None,
) -> EpochMetrics:
    """The metrics of the epoch that just ended."""
    state, progress = training.state, training.progress
    train = evaluation.of_totals(state.totals, n, penalty=0.0)
    held_out = None
    if validation is not None:
        held_out = evaluation.evaluate(program, state.variables(program.optimizer), *validation)
    return EpochMetrics(
        epoch=progress.epoch + 1,
        train_loss=train.loss,
        train_accuracy=train.accuracy,
        validation_loss=held_out.loss if held_out else None,
        validation_accuracy=held_out.accuracy if held_out else None,
        learning_rate=progress.learning_rate,
        seconds=seconds,
        images_per_second=n / seconds,
    )

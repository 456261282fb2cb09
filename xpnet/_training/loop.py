"""The training loop: epochs of steps, and what is told of them."""

import time
from collections.abc import Generator, Iterable, Sequence
from contextlib import closing
from typing import Any, NamedTuple

import numpy as np

from xpnet._training import divergence, evaluation
from xpnet._training.divergence import Stretch
from xpnet._training.step import zero_totals
from xpnet.backend import Backend
from xpnet.callbacks import Callback, Companion, watch_every_step
from xpnet.data.batches import batch_indices, slices
from xpnet.data.stream import chunks
from xpnet.errors import CheckpointError, ConfigError, DivergedError
from xpnet.metrics import EpochMetrics
from xpnet.schedules import Schedule
from xpnet.tree import Array, Tree

Model = Any  # xpnet.Model, which imports this module


class Batches(NamedTuple):
    """What decides which examples are in which batch, beside the seed and the epoch."""

    examples: int
    batch_size: int
    shuffle: bool


def run(
    model: Model,
    x: Array,
    y: Array,
    *,
    epochs: int,
    batch_size: int,
    validation: tuple[Array, Array] | None,
    shuffle: bool,
    schedule: Schedule | None,
    callbacks: Sequence[Callback],
    data_on_device: bool = True,
) -> list[EpochMetrics]:
    """What `Model.fit` does, with inputs and targets that are prepared."""
    batches = Batches(x.shape[0], batch_size, shuffle)
    if model.epoch_step and model._batches != batches:
        raise ConfigError(
            f"fit: expected {model._batches}, with which epoch {model.epoch + 1} was broken off, "
            f"got {batches}; model.epoch_step = 0 starts it afresh"
        )
    model._batches = batches
    model._stopping = False
    _accompany(model, schedule, callbacks)
    history: list[EpochMetrics] = []
    for _ in range(epochs):
        if model._stopping:
            break
        seconds = _train_epoch(model, x, y, batch_size, shuffle, schedule, callbacks, data_on_device)
        if seconds is None:
            break
        model.epoch += 1
        model.epoch_step = 0
        history.append(_epoch_metrics(model, x.shape[0], seconds, validation, data_on_device))
        model.history.append(history[-1])
        if schedule is not None:
            schedule.on_epoch(history[-1].validation_loss)
        for callback in callbacks:
            callback.on_epoch(model, history[-1])
    for callback in reversed(callbacks):
        callback.on_end(model)
    return history


def _accompany(model: Model, schedule: Schedule | None, callbacks: Sequence[Callback]) -> None:
    """Let the model know whose state belongs into its checkpoints; give them what was in a loaded one."""
    companions: dict[str, Companion] = {} if schedule is None else {"schedule": schedule}
    for callback in callbacks:
        kind = type(callback).__name__
        number = sum(type(other) is type(callback) for other in companions.values())
        companions[f"{kind}-{number + 1}" if number else kind] = callback
    for name, companion in companions.items():
        if name in model._companion_states:
            try:
                companion.load_state(model._companion_states[name])
            except (LookupError, TypeError, AttributeError) as error:
                message = f"fit: expected a checkpoint with the state of {name} ({error!r})"
                raise CheckpointError(message) from error
    model._companions, model._companion_states = companions, {}
    for callback in callbacks:
        callback.on_start(model)


def _train_epoch(
    model: Model,
    x: Array,
    y: Array,
    batch_size: int,
    shuffle: bool,
    schedule: Schedule | None,
    callbacks: Sequence[Callback],
    data_on_device: bool,
) -> float | None:
    """One epoch of steps: how many seconds it took, or None if it was broken off."""
    stacks = batch_indices(x, batch_size, seed=model.seed, epoch=model.epoch, shuffle=shuffle)
    n_steps = sum(indices.shape[0] for indices in stacks)
    rates = _learning_rates(model, schedule, n_steps)
    skipped = model.epoch_step
    model.learning_rate = rates[max(skipped - 1, 0)]
    if not skipped:
        totals = zero_totals(model.objective, model.backend, x, y)
        zero = model.backend.from_host(np.int32(0))
        model._state = model._state._replace(totals=totals, finite_steps=zero)
        model._epoch_seconds = 0.0
    before = divergence.to_host(model.backend, model._state)

    def stretches() -> Generator[Stretch, None, None]:
        made = _stretches if data_on_device else _streamed
        return made(model.backend, (x, y), stacks, None if schedule is None else rates, skipped)

    model.backend.synchronize()
    start = time.perf_counter() - model._epoch_seconds
    with closing(stretches()) as steps:
        _train(model, steps, rates, callbacks, start)
    model.backend.synchronize()
    seconds = time.perf_counter() - start
    if divergence.has_diverged(model._state):
        with closing(stretches()) as steps:
            raise _diverged(model, before, steps, rates, skipped)
    return seconds if model.epoch_step == n_steps else None


def _stretches(
    backend: Backend, data: tuple[Array, Array], stacks: list[Array], rates: list[float] | None, skipped: int
) -> Generator[Stretch, None, None]:
    """The steps of these stacks of batches but for the first ones."""
    first = 0
    for indices in stacks:
        n = indices.shape[0]
        of_these = None if rates is None else backend.asarray(rates[first : first + n])
        if skipped < first + n:
            yield Stretch(first, data, (indices, of_these), begin=max(skipped - first, 0))
        first += n


def _streamed(
    backend: Backend, data: tuple[Array, Array], stacks: list[Array], rates: list[float] | None, skipped: int
) -> Generator[Stretch, None, None]:
    """`_stretches` with data that comes from the host in chunks."""
    first = 0
    for indices in stacks:
        n_before = max(skipped - first, 0)
        first += min(n_before, indices.shape[0])
        with closing(chunks(*data, indices[n_before:], backend.dtype_name)) as of_stack:
            for x, y, positions in of_stack:
                n = positions.shape[0]
                of_these = None if rates is None else backend.asarray(rates[first : first + n])
                on_device = backend.from_host(x), backend.from_host(y)
                yield Stretch(first, on_device, (backend.asarray(positions), of_these))
                first += n


def _train(
    model: Model,
    stretches: Iterable[Stretch],
    rates: list[float],
    callbacks: Sequence[Callback],
    start: float,
) -> None:
    """Take these steps, or as many of them as there are until the model is told to stop."""
    at_once = 1 if watch_every_step(callbacks) else model.backend.steps_at_once
    for first, data, rows, begin in stretches:
        for part in slices(rows[0].shape[0], at_once):
            if part.stop <= begin:
                continue
            model.epoch_step = first + part.stop
            model.learning_rate = rates[model.epoch_step - 1]
            model._state = model._training_loop(model._state, data, rows, max(part.start, begin), part.stop)
            model._epoch_seconds = time.perf_counter() - start
            for callback in callbacks:
                callback.on_step(model, model.epoch_step, len(rates))
            if model._stopping:
                return


def _diverged(
    model: Model, before: Tree, stretches: Iterable[Stretch], rates: list[float], skipped: int
) -> DivergedError:
    """What there is to say of an epoch that diverged. The model goes back to where the epoch began."""
    done, finite = model.epoch_step, int(model._state.finite_steps)
    loss = float(model._state.totals.loss)
    model._state, model.epoch_step = divergence.from_host(model.backend, before), skipped
    found = divergence.trace(
        divergence.from_host(model.backend, before),
        stretches,
        model.objective,
        model._training_loop,
        model._make_step,
        model.backend,
    )
    if finite < done:
        steps, rate = f"step {finite + 1} of {len(rates)}", rates[finite]
        problem = f"expected a finite loss, got {loss}"
    else:
        steps, rate = f"steps {skipped + 1} to {done} of {len(rates)}", rates[done - 1]
        problem = "expected finite parameters, got others"
    again = f"run again from step {skipped + 1}"
    if found is None:
        again += ", all numbers were finite: this device does not repeat itself"
    else:
        again += f", what first is not finite is {found.where}, in step {found.step}"
        again += "" if found.was_given else "; a lower learning rate may help"
    return DivergedError(f"epoch {model.epoch + 1}, {steps}, learning rate {rate:g}: {problem}; {again}")


def _learning_rates(model: Model, schedule: Schedule | None, n_steps: int) -> list[float]:
    """The learning rate at each step of the epoch."""
    rate = float(model.optimizer.learning_rate)
    if schedule is None:
        return [rate] * n_steps
    return [rate * schedule(model.epoch + step / n_steps) for step in range(n_steps)]


def _epoch_metrics(
    model: Model,
    n: int,
    seconds: float,
    validation: tuple[Array, Array] | None,
    data_on_device: bool,
) -> EpochMetrics:
    train = evaluation.of_totals(model._state.totals, n, penalty=0.0)
    held_out = None if validation is None else model.evaluate(*validation, data_on_device=data_on_device)
    return EpochMetrics(
        epoch=model.epoch,
        train_loss=train.loss,
        train_accuracy=train.accuracy,
        validation_loss=held_out.loss if held_out else None,
        validation_accuracy=held_out.accuracy if held_out else None,
        learning_rate=float(model.learning_rate),
        seconds=seconds,
        images_per_second=n / seconds,
    )

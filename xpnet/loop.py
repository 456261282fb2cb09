"""The training loop: epochs of steps, and what is told of them."""

import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from xpnet.callbacks import Callback, Companion, watch_every_step
from xpnet.data.batches import batch_indices, slices
from xpnet.errors import CheckpointError, ConfigError
from xpnet.metrics import EpochMetrics
from xpnet.schedules import Schedule
from xpnet.step import zero_totals
from xpnet.tree import Array

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
        seconds = _train_epoch(model, x, y, batch_size, shuffle, schedule, callbacks)
        if seconds is None:
            break
        model.epoch += 1
        model.epoch_step = 0
        history.append(_epoch_metrics(model, x.shape[0], seconds, validation))
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
) -> float | None:
    """One epoch of steps: how many seconds it took, or None if it was broken off."""
    model.backend.synchronize()
    skipped = model.epoch_step
    if not skipped:
        totals = zero_totals(model.objective, model.backend, x, y)
        model._state = model._state._replace(totals=totals)
        model._epoch_seconds = 0.0
    start = time.perf_counter() - model._epoch_seconds
    stacks = batch_indices(x, batch_size, seed=model.seed, epoch=model.epoch, shuffle=shuffle)
    n_steps, done = sum(indices.shape[0] for indices in stacks), 0
    rates = _learning_rates(model, schedule, n_steps)
    at_once = 1 if watch_every_step(callbacks) else model.backend.steps_at_once
    for indices in stacks:
        first, n = done, indices.shape[0]
        rows = indices, None if schedule is None else model.backend.asarray(rates[first : first + n])
        for part in slices(n, at_once):
            done = first + part.stop
            model.learning_rate = rates[done - 1]
            if done <= skipped:
                continue
            begin = max(part.start, skipped - first)
            model._state = model._training_loop(model._state, (x, y), rows, begin, part.stop)
            model.epoch_step = done
            model._epoch_seconds = time.perf_counter() - start
            for callback in callbacks:
                callback.on_step(model, done, n_steps)
            if model._stopping and done < n_steps:
                return None
    model.backend.synchronize()
    return time.perf_counter() - start


def _learning_rates(model: Model, schedule: Schedule | None, n_steps: int) -> list[float]:
    """The learning rate at each step of the epoch."""
    rate = float(model.optimizer.learning_rate)
    if schedule is None:
        return [rate] * n_steps
    return [rate * schedule(model.epoch + step / n_steps) for step in range(n_steps)]


def _epoch_metrics(
    model: Model, n: int, seconds: float, validation: tuple[Array, Array] | None
) -> EpochMetrics:
    train = model._evaluation(model._state.totals, n, penalty=0.0)
    held_out = model.evaluate(*validation) if validation is not None else None
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

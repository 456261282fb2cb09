"""The training loop: epochs of steps, and what is told of them."""

import time
from collections.abc import Sequence
from typing import Any

from xpnet.callbacks import Callback
from xpnet.data.batches import batch_indices
from xpnet.metrics import EpochMetrics
from xpnet.schedules import Schedule
from xpnet.tree import Array

Model = Any  # xpnet.Model, which imports this module


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
    model._stopping = False
    history: list[EpochMetrics] = []
    for _ in range(epochs):
        seconds = _train_epoch(model, x, y, batch_size, shuffle, schedule, callbacks)
        if seconds is None:
            break
        model.epoch += 1
        history.append(_epoch_metrics(model, x.shape[0], seconds, validation))
        if schedule is not None:
            schedule.on_epoch(history[-1].validation_loss)
        for callback in callbacks:
            callback.on_epoch(model, history[-1])
        if model._stopping:
            break
    for callback in callbacks:
        callback.on_end(model)
    return history


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
    start = time.perf_counter()
    model._state = model._state._replace(totals=model._zero_totals())
    indices = batch_indices(x, batch_size, seed=model.seed, epoch=model.epoch, shuffle=shuffle)
    model.learning_rate = model.optimizer.learning_rate
    learning_rate = None
    for step, index in enumerate(indices, start=1):
        if schedule is not None:
            factor = schedule(model.epoch + (step - 1) / len(indices))
            model.learning_rate = factor * model.optimizer.learning_rate
            learning_rate = model.backend.asarray(model.learning_rate, real=True)
        model._state, _ = model._training_step(model._state, (x, y, index, learning_rate))
        for callback in callbacks:
            callback.on_step(model, step, len(indices))
        if model._stopping and step < len(indices):
            return None
    model.backend.synchronize()
    return time.perf_counter() - start


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

"""What `Model.evaluate` and `Model.predict` do, batch by batch, with data that are prepared."""

from collections.abc import Callable
from typing import Any

import numpy as np

from xpnet._training.step import Totals, zero_totals
from xpnet.data.batches import slices
from xpnet.metrics import Evaluation
from xpnet.tree import Array, Tree

Model = Any  # xpnet.Model, which imports this module


def evaluate(model: Model, params: Tree, x: Array, y: Array, batch_size: int) -> Evaluation:
    """Loss with the penalty, and errors, with these parameters; the data may be on the host."""
    totals = zero_totals(model.objective, model.backend, x, y)
    for part in slices(x.shape[0], batch_size):
        batch = model.backend.asarray(x[part, ...], real=True), model.backend.asarray(y[part, ...])
        totals, _ = model._evaluation_step(totals, (params, *batch))
    return of_totals(totals, x.shape[0], penalty=float(model.objective.penalized(params, 0.0)))


def of_totals(totals: Totals, n: int, penalty: float) -> Evaluation:
    """What sums over n examples tell; waits for the device."""
    errors = None if totals.errors is None else int(totals.errors)
    accuracy = None if errors is None else 1 - errors / n
    return Evaluation(float(totals.loss) / n + penalty, accuracy, errors)


def predict(
    model: Model, params: Tree, x: Array, batch_size: int, interpret: Callable[[Array], Array]
) -> np.ndarray:
    """What `interpret` makes of the network's outputs, on the host."""
    parts = []
    for part in slices(x.shape[0], batch_size):
        _, prediction = model._prediction_step((), (params, x[part, ...]))
        parts.append(model.backend.to_numpy(interpret(prediction)))
    return np.concatenate(parts)

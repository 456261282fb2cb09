"""Evaluation and prediction, batch by batch, on checked and placed data."""

from collections.abc import Callable
from typing import Any

import numpy as np

from xpnet import tree
from xpnet._training.judging import Weighted
from xpnet._training.program import Program
from xpnet._training.state import Totals
from xpnet._training.step import zero_totals
from xpnet.backend import Backend
from xpnet.data.batches import slices
from xpnet.metrics import Evaluation
from xpnet.tree import Array, Tree

BATCH_SIZE = 250


def evaluate(
    program: Program, variables: Tree, x: Array, y: Array | Weighted, batch_size: int = BATCH_SIZE
) -> Evaluation:
    """Loss with the L2 penalty, and errors. The data may be on the host."""
    backend, objective = program.backend, program.objective
    totals = zero_totals(objective, backend, x, y)
    for part in slices(x.shape[0], batch_size):
        batch = backend.asarray(x[part, ...], real=True), _placed(backend, y, part)
        totals, _ = program.evaluate(totals, (variables, *batch))
    return of_totals(totals, x.shape[0], penalty=float(objective.penalized(variables, 0.0)))


def _placed(backend: Backend, y: Array | Weighted, part: slice) -> Any:
    return tree.map(lambda array: backend.asarray(array[part, ...]), y)


def of_totals(totals: Totals, n: int, penalty: float) -> Evaluation:
    """The means of totals over n examples, those that count. Waits for the device.

    Where none counts, the loss is 0 and there is no accuracy.
    """
    count = n if totals.count is None else float(totals.count)
    if count == 0:
        return Evaluation(penalty, None, None if totals.errors is None else 0)
    errors = None if totals.errors is None else float(totals.errors)
    accuracy = None if errors is None else 1 - errors / count
    if errors is not None and errors.is_integer():
        errors = int(errors)
    return Evaluation(float(totals.loss) / count + penalty, accuracy, errors)


def predict(
    program: Program, variables: Tree, x: Array, batch_size: int, interpret: Callable[[Array], Array]
) -> np.ndarray:
    """`interpret(outputs)` of the network, on the host."""
    parts = []
    for part in slices(x.shape[0], batch_size):
        _, prediction = program.predict((), (variables, x[part, ...]))
        parts.append(program.backend.to_numpy(interpret(prediction)))
    return np.concatenate(parts)

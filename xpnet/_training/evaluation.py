"""Evaluation and prediction, batch by batch, on checked and placed data."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from xpnet import tree
from xpnet._training import outcome
from xpnet._training.inputs import naming
from xpnet._training.judging import Weighted
from xpnet._training.program import Program
from xpnet._training.state import Totals
from xpnet._training.step import zero_totals
from xpnet.backend import Backend
from xpnet.data.batches import slices
from xpnet.errors import ConfigError
from xpnet.metrics import Evaluation
from xpnet.tree import Array, Tree

BATCH_SIZE = 250


def evaluate(
    program: Program,
    variables: Tree,
    x: Array,
    y: Array | Weighted,
    batch_size: int = BATCH_SIZE,
    examples: int | None = None,
) -> Evaluation:
    """Loss with the L2 penalty, and errors, on the first `examples`; None: on all. They may be on the host.

    Raises ShapeError if the loss is not finite because a value in x or y is not.
    """
    backend, objective = program.backend, program.objective
    n = x.shape[0] if examples is None else min(examples, x.shape[0])
    totals = zero_totals(objective, backend, x, y)
    for part in slices(n, batch_size):
        batch = backend.asarray(x[part, ...]), _placed(backend, y, part)
        totals, _ = program.evaluate(totals, (variables, *batch))
    with backend.precision():
        penalty = float(objective.penalized(variables, 0.0))
    found = of_totals(totals, n, penalty)
    if not math.isfinite(found.loss):
        outcome.require_finite(backend, x=x, y=y)
    return found


def measure(program: Program, variables: Tree, data: Any, examples: int | None = None) -> Evaluation:
    """`evaluate` of a pair (x, y), or `evaluate_batches`."""
    if isinstance(data, tuple):
        x, y = data
        return evaluate(program, variables, x, y, BATCH_SIZE, examples)
    return evaluate_batches(program, variables, data, examples)


def evaluate_batches(
    program: Program, variables: Tree, batches: Iterable[tuple[Array, Any]], examples: int | None = None
) -> Evaluation:
    """`evaluate` of checked batches, each as it is. Waits for the device after each."""
    backend, objective = program.backend, program.objective
    totals, n, finite = None, 0, True
    for number, (x, y) in enumerate(batches, 1):
        part = slice(None if examples is None else examples - n)
        x, y = backend.asarray(x[part, ...]), _placed(backend, y, part)
        if totals is None:
            totals = zero_totals(objective, backend, x, y)
        totals, here = program.evaluate(totals, (variables, x, y))
        n += x.shape[0]
        if finite and not math.isfinite(float(here.loss)):
            finite = False
            with naming(f"batch {number}"):
                outcome.require_finite(backend, x=x, **named(y))
        if n == examples:
            break
    if totals is None:
        raise ConfigError("expected at least one batch, got none")
    with backend.precision():
        penalty = float(objective.penalized(variables, 0.0))
    return of_totals(totals, n, penalty)


def named(y: Array | Weighted) -> dict[str, Array]:
    """Targets, and their weights, by the names that users know."""
    return {"y": y.target, "sample_weight": y.weights} if isinstance(y, Weighted) else {"y": y}


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
    """`interpret(outputs)` of the network, on the host.

    Raises ShapeError if an output is infinite or NaN and x has such a value, DivergedError if an output is
    NaN or ∞ and x has none.
    """
    backend = program.backend
    finite, parts = backend.from_host(np.array(True)), []
    for part in slices(x.shape[0], batch_size):
        finite, prediction = program.predict(finite, (variables, x[part, ...]))
        with backend.precision():
            parts.append(backend.to_numpy(interpret(prediction)))
    if not bool(finite):
        outcome.require_finite(backend, x=x)
        _require_numbers(program, variables, x, batch_size)
    return np.concatenate(parts)


def predict_batches(
    program: Program, variables: Tree, batches: Iterable[Array], interpret: Callable[[Array], Array]
) -> np.ndarray:
    """`predict` for inputs that come in batches, each as it is. Waits for the device after each."""
    parts = []
    for number, x in enumerate(batches, 1):
        with naming(f"batch {number}"):
            parts.append(predict(program, variables, x, x.shape[0], interpret))
    if not parts:
        raise ConfigError("predict: expected at least one batch, got none")
    return np.concatenate(parts)


def _require_numbers(program: Program, variables: Tree, x: Array, batch_size: int) -> None:
    """DivergedError if an output for x is NaN or ∞. One of -∞ may be meant: a class that is ruled out."""
    backend = program.backend
    for part in slices(x.shape[0], batch_size):
        _, prediction = program.predict(backend.from_host(np.array(True)), (variables, x[part, ...]))
        host = backend.to_numpy(prediction)
        wrong = host[~(host < np.inf)]
        if wrong.size:
            outcome.diverged(backend, f"predict: expected finite outputs, got {wrong[0]}", variables)

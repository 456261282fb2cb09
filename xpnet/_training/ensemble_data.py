"""The data of an ensemble, the same for all networks or each network's own, and what is measured on it."""

import math
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from typing import Any, NamedTuple

import numpy as np

from xpnet import tree
from xpnet._training import evaluation, outcome
from xpnet._training.inputs import naming
from xpnet._training.judging import Weighted
from xpnet._training.program import Program
from xpnet._training.state import Totals
from xpnet._training.step import zero_totals
from xpnet.backend import Backend, ops
from xpnet.data.batches import slices
from xpnet.errors import ConfigError, DivergedError
from xpnet.metrics import Evaluation
from xpnet.random import generator
from xpnet.tree import Array, Tree


class Data(NamedTuple):
    """Checked inputs and targets of K networks, on the device or on the host.

    Fields:
        x: inputs (n, ...); each network's own: (K·n, ...), one network after the other.
        y: targets likewise, perhaps with weights (n,), (n, K) or, each network's own, (K·n,).
        networks: K.
        is_own: whether each network has its own.
        on_device: where x and y are.
    """

    x: Any
    y: Any
    networks: int
    is_own: bool = False
    on_device: bool = True

    @property
    def examples(self) -> int:
        """n."""
        return int(self.x.shape[0]) // (self.networks if self.is_own else 1)

    def of(self, backend: Backend, places: tuple[int, ...]) -> "Data":
        """The data with weights for these networks alone."""
        if not isinstance(self.y, Weighted) or self.y.weights.ndim == 1 or len(places) == self.networks:
            return self
        columns = np.array(places)
        if self.on_device:
            weights = backend.xp.take(self.y.weights, backend.asarray(columns), axis=1)
        else:
            weights = self.y.weights[:, columns]
        return self._replace(y=self.y._replace(weights=weights))

    def of_network(self, i: int, k: int) -> tuple[Any, Any, int]:
        """x and y of network k, and the position of the first x; i is its column in the weights."""
        first = k * self.examples if self.is_own else 0
        x = self.x[first : first + self.examples, ...] if self.is_own else self.x
        return x, self.targets(i, k), first

    def targets(self, i: int, k: int) -> Any:
        """y of network k; i is its column in the weights."""
        if self.is_own:
            rows = slice(k * self.examples, (k + 1) * self.examples)
            return tree.map(lambda array: array[rows, ...], self.y)
        if isinstance(self.y, Weighted) and self.y.weights.ndim > 1:
            return self.y._replace(weights=self.y.weights[:, i])
        return self.y

    def positions(self, places: tuple[int, ...], order: np.ndarray) -> np.ndarray:
        """Where the examples of each network's `order` (K or 1, m) are in x: (K or 1, m)."""
        return order + self.examples * np.array(places)[:, None] if self.is_own else order

    def batch(self, backend: Backend, places: tuple[int, ...], part: slice) -> tuple[Array, Any]:
        """The examples in this part of the data, (1, m, ...), or (K, m, ...) if they differ by network."""
        if not self.is_own:
            take: Callable[[Any], Array] = lambda array: backend.asarray(array[part, ...])[None, ...]  # noqa: E731
        else:
            rows = self.positions(places, np.arange(part.start, part.stop)[None])

            def take(array: Any) -> Array:
                if self.on_device:
                    found = ops(array).take(array, backend.asarray(rows.reshape(-1)))
                else:
                    found = backend.asarray(array[rows.reshape(-1)])
                return backend.xp.reshape(found, (*rows.shape, *array.shape[1:]))

        if not isinstance(self.y, Weighted):
            return take(self.x), take(self.y)
        weights = take(self.y.weights)
        if self.y.weights.ndim == 2:
            weights = backend.xp.matrix_transpose(weights)[0, ...]
        return take(self.x), Weighted(take(self.y.target), weights)


def batch_positions(
    data: Data,
    places: tuple[int, ...],
    batch_size: int,
    seeds: list[int],
    epochs: list[int],
    shuffle: Any,
) -> list[np.ndarray]:
    """The positions in x of the examples of each step, (steps, K or 1, batch_size); see `batch_indices`.

    Arguments:
        data: the data.
        places: the networks that train.
        batch_size: examples per step and network.
        seeds: of each of these networks, and last that of the order for all.
        epochs: the number of epochs that each has completed.
        shuffle: "each", "shared" or False.
    """
    n = data.examples
    batch_size = min(batch_size, n)
    if shuffle == "each":
        drawn = zip(seeds, epochs, strict=False)
        order = np.stack([generator(seed, "shuffle", epoch).permutation(n) for seed, epoch in drawn])
    elif shuffle == "shared":
        order = generator(seeds[-1], "shuffle", epochs[0]).permutation(n)[None]
    else:
        order = np.arange(n)[None]
    order = data.positions(places, order)
    whole = n - n % batch_size
    full = order[:, :whole].reshape(len(order), -1, batch_size).transpose(1, 0, 2)
    stacks = np.ascontiguousarray(full), order[None, :, whole:]
    return [rows for rows in stacks if 0 not in rows.shape]


def evaluate(
    program: Program,
    places: tuple[int, ...],
    variables: Tree,
    data: Data | Iterable[Data],
    batch_size: int = evaluation.BATCH_SIZE,
    examples: int | None = None,
) -> list[Evaluation]:
    """`evaluation.evaluate` of each of these networks on the first `examples`; their loss may not be finite.

    Data that come in batches are evaluated batch by batch, each as it is. Raises ShapeError if a loss is not
    finite because a value in the data is not.
    """
    if not isinstance(data, Data):
        return _evaluate_batches(program, places, variables, data, examples)
    backend, objective = program.backend, program.objective
    data = data.of(backend, places)
    n = data.examples if examples is None else min(examples, data.examples)
    totals = zero_totals(objective, backend, data.x, data.y, program.networks)
    for part in slices(n, batch_size):
        totals, _ = program.evaluate(totals, (variables, *data.batch(backend, places, part)))
    found = _means(program, variables, totals, n)
    if not all(math.isfinite(each.loss) for each in found):
        _require_finite(backend, data)
    return found


def _require_finite(backend: Backend, data: Data) -> None:
    """`outcome.require_finite`, which names the network if each has its own data."""
    for k in range(data.networks if data.is_own else 1):
        x, y, _ = data.of_network(0, k)
        with naming(f"network {k}") if data.is_own else nullcontext():
            outcome.require_finite(backend, x=x, **evaluation.named(y))


def _evaluate_batches(
    program: Program, places: tuple[int, ...], variables: Tree, batches: Iterable[Data], examples: int | None
) -> list[Evaluation]:
    backend = program.backend
    totals, n, finite = None, 0, True
    for number, batch in enumerate(batches, 1):
        data = batch.of(backend, places)
        part = slice(0, data.examples if examples is None else min(examples - n, data.examples))
        if totals is None:
            totals = zero_totals(program.objective, backend, data.x, data.y, program.networks)
        totals, here = program.evaluate(totals, (variables, *data.batch(backend, places, part)))
        n += part.stop
        if finite and not np.isfinite(backend.to_numpy(here.loss)).all():
            finite = False
            with naming(f"batch {number}"):
                _require_finite(backend, data)
        if n == examples:
            break
    if totals is None:
        raise ConfigError("expected at least one batch, got none")
    return _means(program, variables, totals, n)


def _means(program: Program, variables: Tree, totals: Totals, n: int) -> list[Evaluation]:
    """`of_totals` with the L2 penalty of each network."""
    backend = program.backend
    with backend.precision():
        penalty: Any = program.objective.penalized(variables, 0.0)
    host = backend.to_numpy(penalty) if hasattr(penalty, "dtype") else penalty
    return of_totals(backend, totals, n, np.broadcast_to(host, totals.loss.shape))


def of_totals(backend: Backend, totals: Totals, n: int, penalties: Any) -> list[Evaluation]:
    """The means of totals with an axis of networks, for each. Waits for the device."""
    host = Totals(*[None if total is None else backend.to_numpy(total) for total in totals])
    each = [Totals(*[None if total is None else total[k] for total in host]) for k in range(len(host.loss))]
    return [
        evaluation.of_totals(one, n, float(penalty)) for one, penalty in zip(each, penalties, strict=True)
    ]


def predict(
    program: Program,
    places: tuple[int, ...],
    variables: Tree,
    data: Data,
    batch_size: int,
) -> np.ndarray:
    """The outputs of these networks (K, n, ...), on the host.

    Raises ShapeError if an output is infinite or NaN and x has such a value, DivergedError if an output is
    NaN or ∞ and x has none.
    """
    backend = program.backend
    finite, parts = backend.from_host(np.array(True)), []
    for part in slices(data.examples, batch_size):
        x, _ = data.batch(backend, places, part)
        finite, prediction = program.predict(finite, (variables, x))
        parts.append(backend.to_numpy(prediction))
    found = np.concatenate(parts, axis=1)
    if not bool(finite):
        _require_finite(backend, data)
        wrong = ~(found < np.inf).reshape(len(found), -1).all(axis=1)
        if wrong.any():
            k = int(np.argmax(wrong))
            of_one = tree.map(lambda array: array[k, ...], variables)
            try:
                outcome.diverged(backend, "predict: expected finite outputs, got others", of_one)
            except DivergedError as error:
                raise DivergedError(f"network {places[k]}: {error}") from None
    return found


def predict_batches(
    program: Program, places: tuple[int, ...], variables: Tree, batches: Iterable[Data]
) -> np.ndarray:
    """`predict` for inputs that come in batches, each as it is. Waits for the device after each."""
    parts = []
    for number, data in enumerate(batches, 1):
        with naming(f"batch {number}"):
            parts.append(predict(program, places, variables, data, data.examples))
    if not parts:
        raise ConfigError("predict: expected at least one batch, got none")
    return np.concatenate(parts, axis=1)

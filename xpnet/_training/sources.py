"""Where the steps of an epoch come from: arrays that are cut into batches, or batches that the user gives."""

import functools
import itertools
from collections.abc import Generator
from contextlib import closing
from typing import Any

import numpy as np

from xpnet import tree
from xpnet._training import arguments, judging, outcome
from xpnet._training.divergence import Origin, StepRange
from xpnet._training.inputs import Inputs
from xpnet._training.judging import Weighted
from xpnet._training.state import Batches, Given, Progress
from xpnet.backend import Backend
from xpnet.data.batches import batch_indices
from xpnet.data.stream import chunks
from xpnet.errors import ConfigError, ShapeError
from xpnet.losses import Loss
from xpnet.schedules import Schedule
from xpnet.tree import Array, ArrayLike

RESTART = "set model.epoch_step = 0 to restart the epoch"


class Source:
    """Base class of what yields the steps of one epoch after another.

    Attributes:
        backend: the backend.
        record: which examples form which batch; a checkpoint keeps it.
        n_steps: the number of steps of this epoch; math.inf if it is not known.
        x, y: inputs and targets: all of them, or those of the first batch.
        repeats: whether the steps of an epoch can be run again.
        otherwise: why steps that are run again may have another result.
        restart: how to begin an interrupted epoch anew, for errors.
    """

    backend: Backend
    record: Batches | Given
    n_steps: float
    x: Any
    y: Any
    repeats: bool = True
    otherwise: str = "this device is not deterministic"
    restart: str = RESTART

    def require_resumable(self, progress: Progress) -> None:
        """ConfigError if the epoch was interrupted, and its other steps cannot come from here."""

    def begin(self, progress: Progress) -> None:
        """Begin an epoch, or go on with an interrupted one."""

    def learning_rates(self, rate: float, schedule: Schedule | None, epoch: int) -> list[float]:
        """The learning rate at each step of the epoch."""
        n_steps = int(self.n_steps)
        if schedule is None:
            return [rate] * n_steps
        return [rate * factor for factor in schedule.factors_of_steps(epoch, n_steps)]

    def ranges(self, rates: list[float] | None, skipped: int) -> Generator[StepRange, None, None]:
        """The steps of the epoch without the first `skipped`, with these learning rates or the optimizer's.

        Close it if you do not exhaust it.
        """
        raise NotImplementedError

    def is_complete(self, step: int) -> bool:
        """Whether the epoch ends after this step."""
        return step == self.n_steps

    def end(self) -> None:
        """End the epoch, all of whose steps are done."""

    def examples(self, step: int) -> int:
        """The number of examples in the steps of the epoch up to this one, the last that was run."""
        raise NotImplementedError

    def data(self) -> Any:
        """The training data, as `evaluation.measure` takes them."""
        return self.x, self.y

    def entry(self, found: Origin) -> str:
        """The first value of the data that is not finite, if that is the origin: " (nan at x[3, 0])"."""
        entry = entry_of(self.backend, self.x, self.y, found)
        return f" ({entry})" if entry else ""

    def lost(self) -> str:
        """What is lost if the epoch is interrupted here; empty: nothing."""
        return ""


class Arrays(Source):
    """Checked arrays on the device, or on the host: these go to the device in chunks of batches.

    Arguments:
        backend: the backend.
        x, y: inputs and targets of all examples.
        on_device: whether they are on the device.
        batch_size, shuffle, seed: as `data.batches` takes them.
    """

    def __init__(
        self,
        backend: Backend,
        x: Array,
        y: Array | Weighted,
        on_device: bool,
        *,
        batch_size: int,
        shuffle: bool,
        seed: int,
    ) -> None:
        self.backend, self.x, self.y, self.on_device, self.seed = backend, x, y, on_device, seed
        self.record: Batches = Batches(x.shape[0], batch_size, shuffle)
        self.buffers = Buffers(backend)

    @classmethod
    def of(
        cls,
        inputs: Inputs,
        loss: Loss,
        x: ArrayLike,
        y: ArrayLike,
        weights: ArrayLike | None,
        on_device: bool,
        **options: Any,
    ) -> "Arrays":
        """Check and place the arguments of `fit`."""
        try:
            placed, target = inputs.place(x, y, on_device)
        except ShapeError as error:
            raise arguments.with_advice(error, inputs.net, x, y) from error
        target = judging.weighted(loss, target, weights, inputs.backend, on_device)
        return cls(inputs.backend, placed, target, on_device, **options)

    def require_resumable(self, progress: Progress) -> None:
        if progress.epoch_step and progress.batches != self.record:
            raise ConfigError(
                f"fit: expected {described(progress.batches)}, as in the interrupted epoch "
                f"{progress.epoch + 1}, got {self.record}; {self.restart}"
            )

    def begin(self, progress: Progress) -> None:
        _, batch_size, shuffle = self.record
        self.stacks = batch_indices(self.x, batch_size, seed=self.seed, epoch=progress.epoch, shuffle=shuffle)
        self.n_steps = sum(indices.shape[0] for indices in self.stacks)

    def ranges(self, rates: list[float] | None, skipped: int) -> Generator[StepRange, None, None]:
        return self._ranges(rates, skipped) if self.on_device else self._streamed_ranges(rates, skipped)

    def _ranges(self, rates: list[float] | None, skipped: int) -> Generator[StepRange, None, None]:
        first = 0
        for indices in self.stacks:
            n = indices.shape[0]
            their_rates = None if rates is None else self.backend.asarray(rates[first : first + n])
            if skipped < first + n:
                begin = max(skipped - first, 0)
                yield StepRange(first, (self.x, self.y), (indices, their_rates), begin)
            first += n

    def _streamed_ranges(self, rates: list[float] | None, skipped: int) -> Generator[StepRange, None, None]:
        backend, first = self.backend, 0
        for indices in self.stacks:
            n_before, batch_size = max(skipped - first, 0), indices.shape[1]
            first += min(n_before, indices.shape[0])
            own = backend.own_examples(batch_size) if indices.ndim == 2 else None  # 3: of an ensemble
            stack = chunks(self.x, self.y, indices[n_before:], self.x.dtype, None, own)
            with closing(stack) as stack_chunks:
                for x, y, positions in stack_chunks:
                    n = positions.shape[0]
                    their_rates = None if rates is None else backend.asarray(rates[first : first + n])
                    if own is None:
                        rows = backend.asarray(positions), their_rates
                        yield StepRange(first, self.buffers.load(x, y), rows)
                    else:
                        place = functools.partial(_batches, backend, positions, batch_size)
                        yield StepRange(first, (), (*tree.map(place, (x, y)), None, their_rates))
                    first += n

    def examples(self, step: int) -> int:
        return min(step * self.record.batch_size, self.record.examples)


def _batches(backend: Backend, positions: np.ndarray, batch_size: int, chunk: np.ndarray) -> Array:
    """The batches of a chunk on many devices, by the positions of the examples that this process places."""
    return backend.from_batches(chunk[positions], batch_size)


class Buffers:
    """The device's arrays for chunks of data from the host. Each chunk overwrites the one before it.

    Arguments:
        backend: the backend.
    """

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.arrays: list[Array] = []

    def load(self, x: Array, y: Any) -> tuple[Array, Any]:
        """Arrays with x and y in their first rows; y may have weights."""
        pairs = itertools.zip_longest(self.arrays, tree.leaves((x, y)))
        self.arrays = [self.backend.refilled(buffer, array) for buffer, array in pairs]
        loaded, *target = self.arrays
        return loaded, Weighted(*target) if isinstance(y, Weighted) else target[0]


def entry_of(backend: Backend, x: Array, y: Any, found: Origin) -> str | None:
    """The first value that is not finite, if inputs or targets are the origin: "nan at x[3, 0]"."""
    named = {"in the inputs": ("x", x), "in the targets": ("y", y)}
    name, array = named.get(found.where, ("", None))
    return None if array is None else outcome.first_not_finite(backend, array, name)


def described(batches: Batches | Given | None) -> str:
    """The record of a source, for errors."""
    if not isinstance(batches, Given):
        return str(batches)
    steps = batches.steps_per_epoch
    return "an iterable of batches" + (f" with steps_per_epoch={steps}" if steps else "")

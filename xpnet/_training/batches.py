"""The source of steps that takes the batches that the user gives, from an iterable, one after the other."""

import itertools
import math
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from xpnet._training import given
from xpnet._training.divergence import Origin, StepRange
from xpnet._training.given import END, Passes
from xpnet._training.inputs import naming
from xpnet._training.sources import Buffers, Source, described, entry_of
from xpnet._training.state import Given, Progress
from xpnet._util.text import constructor_call
from xpnet._util.warning import warn
from xpnet.errors import ConfigError
from xpnet.schedules import Schedule
from xpnet.tree import Array

ASKED = 64  # times of an epoch at which a schedule is asked whether it stays the same


class Rates(list[float]):
    """Learning rates, of which the last one holds for all later steps."""

    def __getitem__(self, step: Any) -> Any:
        return super().__getitem__(min(step, len(self) - 1))


class GivenBatches(Source):
    """Batches that the user gives, one for each step.

    Arguments:
        place: checks and places them.
        batches: an iterable of `(x, y)` or `(x, y, sample_weight)`.
        steps_per_epoch: the steps of an epoch. An epoch goes on where the last one ended, pass after pass.
            None: an epoch is one pass.
        progress: where the training is.

    It takes no batch before `first`. Raises ConfigError if the loss needs the labels of all examples.
    """

    record: Given
    x: Any = None
    y: Any = None
    otherwise = "the batches come in another order each time, or this device is not deterministic"

    def __init__(
        self, place: given.Placer, batches: Any, steps_per_epoch: int | None, progress: Progress
    ) -> None:
        if getattr(place.loss, "class_weights", None) == "balanced":
            raise ConfigError(
                f"fit: expected numbers for class_weights with an iterable of batches, got {place.loss}, "
                "which counts the labels of all examples; pass a number for each class"
            )
        self.place, self.backend, self.steps_per_epoch = place, place.inputs.backend, steps_per_epoch
        self.passes = Passes(batches, *self._start(progress))
        self.repeats = not self.passes.once
        self.require_resumable(progress)
        self.buffers: dict[Any, Buffers] = {}
        self.indices: dict[int, Array] = {}
        self.batch: tuple[Array, Any] | None = None  # the last one
        self.counted = 0  # examples
        self.reached: int | None = None  # the step after which `passes` stand; None: elsewhere
        self.short = False  # whether an epoch had fewer steps than expected
        self.begin(progress)

    def first(self) -> tuple[Any, Any, int]:
        """x, y and the number of examples of the first batch, which the first step then takes.

        Raises ConfigError if there is none, ShapeError if they cannot be read.
        """
        with self._noting(1):
            if self.passes.first() is END and (self.passes.once or self.passes.first() is END):
                raise ConfigError("fit: expected at least one batch, got none")
        with naming("batch 1"):
            x, y, _ = given.parts_of(self.passes.first())
            x, y = self.place.read(x), self.place.read(y, "y")
            return x, y, self.place.length(x)

    def with_shapes(self) -> "GivenBatches":
        """Itself, with x and y of the first batch for their shapes. ShapeError if they do not fit."""
        self.x, self.y = self.place(self.passes.first(), 1)
        return self

    def require_steps(self, schedule: Schedule | None, epochs: int) -> None:
        """ConfigError for a schedule that changes within an epoch whose number of steps is not known."""
        if schedule is None or self.n_steps < math.inf:
            return
        for epoch in range(self.epoch - 1, self.epoch - 1 + epochs):
            if len(set(schedule.factors_of_steps(epoch, ASKED))) > 1:
                raise ConfigError(
                    f"fit: expected the number of steps of an epoch for the schedule "
                    f"{constructor_call(schedule)}, got {self.passes.name} without a length; pass "
                    "steps_per_epoch, or give it __len__"
                )

    def _start(self, progress: Progress) -> tuple[int, int]:
        """Where the epoch begins: after so many passes, and so many batches of the next one."""
        last = progress.batches
        if self.steps_per_epoch is None:
            return progress.epoch, 0
        if isinstance(last, Given) and last.steps_per_epoch == self.steps_per_epoch:
            return last.passes, last.taken
        return 0, 0

    def require_resumable(self, progress: Progress) -> None:
        if not progress.epoch_step:
            return
        last, epoch = progress.batches, progress.epoch + 1
        if not isinstance(last, Given) or last.steps_per_epoch != self.steps_per_epoch:
            raise ConfigError(
                f"fit: expected {described(last)}, as in the interrupted epoch {epoch}, "
                f"got {described(Given(self.steps_per_epoch))}; {self.restart}"
            )
        if self.passes.once:
            raise ConfigError(
                f"fit: expected batches that can be read again, to go on after step {progress.epoch_step} of "
                f"the interrupted epoch {epoch}, got {self.passes.name}; {self.restart} with the next batches"
            )

    def begin(self, progress: Progress) -> None:
        self.epoch, self.ended, self.counted, self.reached = progress.epoch + 1, False, 0, None
        start = self._start(progress) if progress.epoch_step else self.passes.position
        self.record = Given(self.steps_per_epoch, *(start if self.repeats else (0, 0)))
        length = self.passes.length() if self.steps_per_epoch is None else self.steps_per_epoch
        self.n_steps = length or math.inf

    def learning_rates(self, rate: float, schedule: Schedule | None, epoch: int) -> list[float]:
        if self.n_steps == math.inf:
            return Rates([rate if schedule is None else rate * schedule.factors_of_steps(epoch, 1)[0]])
        return Rates(super().learning_rates(rate, schedule, epoch))

    def ranges(self, rates: list[float] | None, skipped: int) -> Generator[StepRange, None, None]:
        if skipped != self.reached:
            self._skip(skipped)
        for step in itertools.count(skipped):
            if step == self.steps_per_epoch:
                return
            batch = self._take(step)
            if batch is END:
                self._end_after(step)
                return
            placed, target = self.place(batch, step + 1)
            n = self.place.examples(placed)
            self.counted, self.reached = self.counted + n, step + 1
            self.batch = x, y = self._load(placed, target)
            their_rate = None if rates is None else self.backend.asarray([rates[step]])
            yield StepRange(step, (x, y), (self._all_of(n), their_rate))

    def _skip(self, steps: int) -> None:
        """Go to the start of the epoch, and read the batches of its first steps."""
        self.passes.seek(self.record[1:])
        self.counted = 0
        for step in range(steps):
            batch = self._take(step)
            if batch is END:
                raise ConfigError(
                    f"fit: expected at least {steps} batches, as in the interrupted epoch {self.epoch}, "
                    f"got {step}; {self.restart}"
                )
            self.counted += self.place.length(self.place.read(given.parts_of(batch)[0]))

    def _take(self, step: int) -> Any:
        """The next batch; END if there is none in this epoch."""
        with self._noting(step + 1):
            batch = self.passes.take()
            if batch is END and self.steps_per_epoch is not None and self.repeats:
                batch = self.passes.take()
                if batch is END:
                    raise ConfigError(self._none())
            return batch

    @contextmanager
    def _noting(self, number: int) -> Iterator[None]:
        """Within the block, an error of the iterable gets a note with the number of the batch."""
        try:
            yield
        except Exception as error:
            if not isinstance(error, ConfigError):
                error.add_note(f"fit: this came in place of batch {number} of epoch {self.epoch}")
            raise

    def _end_after(self, n_steps: int) -> None:
        """The epoch has so many steps: tell if others were expected."""
        ended, self.ended, self.reached = self.ended, True, None
        if n_steps == 0 and self.repeats:
            raise ConfigError(self._none())
        was_short, self.short = self.short, n_steps < self.n_steps
        if ended or n_steps == self.n_steps or self.n_steps == math.inf or (was_short and n_steps == 0):
            return
        expected = f"fit: expected {self.n_steps} batches for epoch {self.epoch}"
        if self.steps_per_epoch is None:
            problem = f"{expected}, as len says, got {n_steps}"
        elif n_steps:
            problem = f"{expected}, got {n_steps}, and no more: this shorter epoch is the last"
        else:
            problem = f"{expected}, got no more: epoch {self.epoch - 1} was the last"
        warn(problem)

    def _none(self) -> str:
        return (
            f"fit: expected batches in epoch {self.epoch} too, got none: {self.passes.name} that gives them "
            "once; pass a list of batches, a DataLoader or an object with __iter__"
        )

    def _load(self, x: Array, y: Any) -> tuple[Array, Any]:
        """The batch on the device, where a captured step finds it."""
        kind = tuple(x.shape[1:])  # targets and weights of all batches have one form
        if kind not in self.buffers:
            self.buffers[kind] = Buffers(self.backend)
        return self.buffers[kind].load(x, y)

    def _all_of(self, n: int) -> Array:
        """The index of all n examples of a batch, for one step."""
        if n not in self.indices:
            self.indices[n] = self.backend.asarray(self._positions(n)[None, ...])
        return self.indices[n]

    def _positions(self, n: int) -> np.ndarray:
        """The positions of n examples in the arrays of their batch."""
        return np.arange(n)

    def is_complete(self, step: int) -> bool:
        return step == self.n_steps or (self.ended and step > 0)

    def end(self) -> None:
        if self.steps_per_epoch is None and not self.ended and self.repeats:
            self.passes.end_pass()  # `stop` came after the last step
        if self.repeats:
            self.record = Given(self.steps_per_epoch, *self.passes.position)

    def examples(self, step: int) -> int:
        return self.counted

    def data(self) -> Any:
        return given.Placed(self.passes.once_more, self.place)

    def entry(self, found: Origin) -> str:
        if self.batch is None:
            return ""
        entry = entry_of(self.backend, *self.batch, found)
        return f" ({entry} of batch {found.step})" if entry else ""

    def lost(self) -> str:
        if self.repeats or not self.counted:
            return ""
        return (
            f"fit: {self.passes.name} cannot be read again: its {self.counted} examples of the interrupted "
            f"epoch {self.epoch} do not come back"
        )

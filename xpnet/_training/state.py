"""What training changes: the state on the device, and the progress on the host."""

import math
import threading
from typing import Any, NamedTuple

import numpy as np

from xpnet import random, tree
from xpnet._training import trees
from xpnet.backend import Backend
from xpnet.callbacks import Stateful
from xpnet.metrics import EpochMetrics
from xpnet.nn import Layer
from xpnet.optim import Optimizer
from xpnet.optim.steps import copy
from xpnet.tree import Array, Tree


class Totals(NamedTuple):
    """Sums over examples: 0-d arrays, or numbers before the first step.

    Fields:
        loss: the losses, each times its weight if examples have weights.
        errors: the errors likewise; None if the targets are not classes.
        count: the weights, or the number of examples that the loss counts; None if it counts all.
    """

    loss: Any
    errors: Any
    count: Any = None


class State(NamedTuple):
    """Everything that a training step changes.

    Fields:
        params: the parameters.
        statistics: the statistics that layers collect in training.
        optimizer: the optimizer's state.
        totals: the totals of the epoch so far.
        step: int32 (1,), the number of steps taken so far.
        finite_steps: int32, 0-d: the number of steps of the epoch after which the sum of losses was finite.
        averaged_statistics: the statistics of the network with the optimizer's `evaluation_params`, collected
            in the same steps; empty if these are the parameters themselves.
    """

    params: Tree
    statistics: Tree
    optimizer: Tree
    totals: Totals
    step: Array
    finite_steps: Array
    averaged_statistics: Tree = {}  # noqa: RUF012  # a tree is never changed

    def variables(self, optimizer: Optimizer) -> Tree:
        """The parameters and statistics that the network uses outside training."""
        params = optimizer.evaluation_params(self.params, self.optimizer)
        return tree.merge(params, self.averaged_statistics or self.statistics)

    def starting(self, optimizer: Optimizer) -> "State":
        """The state in which the optimizer starts from the parameters and statistics."""
        state = optimizer.init(self.params)
        averages = optimizer.evaluation_params(self.params, state) is not self.params
        statistics = copy(self.statistics) if averages and tree.leaves(self.statistics) else {}
        return self._replace(optimizer=state, averaged_statistics=statistics)


def initial_state(net: Layer, optimizer: Optimizer, backend: Backend, seed: int) -> State:
    """The state before the first step. ConfigError if a layer's `init` does not return a tree of arrays."""
    statistics, params = net.init_statistics(), net.init(random.generator(seed, "weights"))
    trees.require_arrays(net, statistics, "init_statistics")
    trees.require_arrays(net, params, "init")
    params = tree.map(lambda leaf: backend.copy(backend.asarray(leaf, real=True)), params)
    statistics = tree.map(backend.copy, statistics)
    zero = backend.from_host(np.zeros(1, np.int32))
    state = State(params, statistics, {}, Totals(0.0, 0), zero, zero[0, ...])
    return state.starting(optimizer)


class Batches(NamedTuple):
    """The settings that, with the seed and the epoch, determine which examples form which batch."""

    examples: int
    batch_size: int
    shuffle: bool


class Given(NamedTuple):
    """Batches that the user gives: which of them form an epoch.

    Fields:
        steps_per_epoch: the steps of an epoch; None: one pass over the batches.
        passes: the passes that were over when the epoch began.
        taken: the batches of the next pass that were taken before the epoch.
    """

    steps_per_epoch: int | None = None
    passes: int = 0
    taken: int = 0


class News(NamedTuple):
    """The end of a step or an epoch, which the schedule and the callbacks are to be told.

    Fields:
        names: the names of those to be told, in their order.
        step: the step of the epoch, and the number of its steps, math.inf if it is not known; or
        epoch: the metrics of the epoch.
        before: the state of the first of them before it was told, if that was interrupted.
    """

    names: tuple[str, ...]
    step: tuple[int, float] | None = None
    epoch: EpochMetrics | None = None
    before: dict[str, Any] | None = None


class Progress(NamedTuple):
    """The progress of a training.

    Fields:
        epoch: the number of completed epochs.
        epoch_step: the number of steps taken in the current epoch.
        epoch_seconds: the duration of these steps.
        batches: the batches of the last `fit`; None before the first `fit`.
        history: the metrics of each epoch.
        learning_rate: the learning rate of the last step; NaN before the first step.
        news: what `Hooks.tell` tells, or has told.
    """

    epoch: int = 0
    epoch_step: int = 0
    epoch_seconds: float = 0.0
    batches: Batches | Given | None = None
    history: tuple[EpochMetrics, ...] = ()
    learning_rate: float = math.nan
    news: News | None = None

    def after_step(self, step: int, seconds: float, learning_rate: float, news: News | None) -> "Progress":
        """The progress after a step of the epoch, whose steps have taken `seconds` so far."""
        epoch, _, _, batches, history, _, _ = self
        return Progress._make((epoch, step, seconds, batches, history, learning_rate, news))

    def after_epoch(self, metrics: EpochMetrics, news: News) -> "Progress":
        """The progress after an epoch."""
        history = (*self.history, metrics)
        return self._replace(epoch=metrics.epoch, epoch_step=0, history=history, news=news)


class Start(NamedTuple):
    """Where the steps of an epoch start: at its beginning, or where it was interrupted. All on the host.

    Fields:
        backend: the backend.
        state: the state.
        progress: the progress.
        companions: the states of the schedule and the callbacks, by name.
        thread: the thread that runs the steps.
    """

    backend: Backend
    state: Tree
    progress: Progress
    companions: dict[str, Any]
    thread: int

    @classmethod
    def of(cls, backend: Backend, training: "Training", companions: dict[str, Any]) -> "Start":
        """Where the training is now."""
        state = trees.to_host(backend, training.state)
        return cls(backend, state, training.progress, companions, threading.get_ident())

    def restored(self) -> State:
        """A copy of the state on the device."""
        return trees.from_host(self.backend, self.state)


# A state, its progress, and the states of the schedule and the callbacks at that moment if theirs are later
# ones. A plain tuple and `_make` take a third of the time of named ones: a small step takes 50 µs.
_Moment = tuple[State, Progress, dict[str, Any]]


class Training:
    """The state and the progress of one model, and who takes part in its `fit`.

    State and progress change together, in one assignment: an exception at any moment, such as Ctrl-C, leaves
    a state with its own progress. A step may overwrite the arrays of the state that it starts from. If it is
    broken off, the training is where the epoch's steps started, as the next access finds. So nothing needs to
    run after the exception, which a second one could prevent.

    Attributes:
        stopping: whether `fit` ends after the current step.
        participants: the schedule and the callbacks of the last `fit`, by name.
        unfinished: whether that `fit` was interrupted, so that the next one continues it.
        loaded: states of participants from a loaded checkpoint, until the next `fit` restores them.
        told: the last news, how many have been told, and the state of the next one before it is told.
    """

    def __init__(self, state: State, progress: Progress, loaded: dict[str, Any] | None = None) -> None:
        self._now: _Moment = state, progress, {}
        self._step: tuple[Progress, Start] | None = None  # the last that began, and where to go back to
        self.stopping = False
        self.participants: dict[str, Stateful] = {}
        self.unfinished = False
        self.loaded = loaded or {}
        self.told: tuple[News | None, int, dict[str, Any] | None] = None, 0, None

    @property
    def state(self) -> State:
        start = self._broken_off()
        if start is not None:
            self.go_back(start)
        return self._now[0]

    @state.setter
    def state(self, state: State) -> None:
        self.change(state, self.progress)

    @property
    def progress(self) -> Progress:
        start = self._broken_off()
        return self._now[1] if start is None else start.progress

    @progress.setter
    def progress(self, progress: Progress) -> None:
        self.change(self.state, progress)

    @property
    def rewound(self) -> dict[str, Any]:
        """The states of participants that belong to this moment, if theirs are later ones."""
        start = self._broken_off()
        return self._now[2] if start is None else start.companions

    def change(self, state: State, progress: Progress) -> None:
        """Replace both in one assignment."""
        self._now = state, progress, self.rewound

    def begin_step(self, start: Start) -> tuple[State, Progress]:
        """The state, for a step that may overwrite it. Until `end_step`, an exception leads to `start`."""
        state, progress, _ = self._now
        self._step = progress, start
        return state, progress

    def end_step(self, state: State, progress: Progress) -> None:
        """Record the state and the progress after a step."""
        self._now = state, progress, {}

    def settle(self) -> None:
        """Go back now if a step was broken off: other threads do not ask whether one was."""
        self.state  # noqa: B018

    def go_back(self, start: Start) -> None:
        """Restore the training to where the steps of the epoch started."""
        self.set_back(start.restored(), start.progress, start.companions)

    def set_back(self, state: State, progress: Progress, companions: dict[str, Any]) -> None:
        """Set the training to an earlier moment, with the states of its participants then."""
        self._now = state, progress, companions

    def forget_later_states(self) -> None:
        """Record that no participant has a later state any more."""
        self._now = self.state, self.progress, {}

    def start_anew(self, state: State) -> None:
        """Go on from a state that training did not lead to: restart the epoch, with fresh companions."""
        self.unfinished = False
        self._now = state, self.progress._replace(epoch_step=0, news=None), {}

    def take_over(self, other: "Training") -> None:
        """Continue another training, of a checkpoint or of a model that was copied."""
        vars(self).update(vars(other))

    def _broken_off(self) -> Start | None:
        """Where to go back to, if this thread has begun a step and not ended it; in a step, nobody asks.

        Other threads, such as one that shows the progress, find the moment before the step that runs.
        """
        if self._step is None:
            return None
        progress, start = self._step
        return start if progress is self._now[1] and start.thread == threading.get_ident() else None

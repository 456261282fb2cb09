"""What training changes: the state on the device, and the progress on the host."""

import math
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from xpnet import random, tree
from xpnet._training import trees
from xpnet.backend import Backend
from xpnet.callbacks import Stateful
from xpnet.metrics import EpochMetrics
from xpnet.nn import Layer
from xpnet.optim import Optimizer
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
    """

    params: Tree
    statistics: Tree
    optimizer: Tree
    totals: Totals
    step: Array
    finite_steps: Array

    def variables(self, optimizer: Optimizer) -> Tree:
        """The parameters and statistics that the network uses outside training."""
        return tree.merge(optimizer.evaluation_params(self.params, self.optimizer), self.statistics)


def initial_state(net: Layer, optimizer: Optimizer, backend: Backend, seed: int) -> State:
    """The state before the first step. ConfigError if a layer's `init` does not return a tree of arrays."""
    statistics, params = net.init_statistics(), net.init(random.generator(seed, "weights"))
    trees.require_arrays(net, statistics, "init_statistics")
    trees.require_arrays(net, params, "init")
    params = tree.map(backend.copy, params)
    statistics = tree.map(backend.copy, statistics)
    zero = backend.from_host(np.zeros(1, np.int32))
    return State(params, statistics, optimizer.init(params), Totals(0.0, 0), zero, zero[0, ...])


class Batches(NamedTuple):
    """The settings that, with the seed and the epoch, determine which examples form which batch."""

    examples: int
    batch_size: int
    shuffle: bool


@dataclass
class Progress:
    """The progress of a training.

    Attributes:
        epoch: the number of completed epochs.
        epoch_step: the number of steps taken in the current epoch.
        epoch_seconds: the duration of these steps.
        batches: the batches of the last `fit`; None before the first `fit`.
        history: the metrics of each epoch.
        learning_rate: the learning rate of the last step; NaN before the first step.
        stopping: whether `fit` ends after the current step.
        participants: the schedule and the callbacks of the last `fit`, by name.
        loaded: their states from a loaded checkpoint, until the next `fit` restores them.
    """

    epoch: int = 0
    epoch_step: int = 0
    epoch_seconds: float = 0.0
    batches: Batches | None = None
    history: list[EpochMetrics] = field(default_factory=list)
    learning_rate: float = math.nan
    stopping: bool = False
    participants: dict[str, Stateful] = field(default_factory=dict)
    loaded: dict[str, Any] = field(default_factory=dict)

    def end_step(self, step: int, learning_rate: float, epoch_seconds: float) -> None:
        """Record the end of a step of the epoch."""
        self.epoch_step, self.learning_rate, self.epoch_seconds = step, learning_rate, epoch_seconds

    def end_epoch(self, metrics: EpochMetrics) -> None:
        """Record the end of an epoch and its metrics."""
        self.epoch, self.epoch_step = metrics.epoch, 0
        self.history.append(metrics)


@dataclass
class Training:
    """The state and the progress of one model. The training loop replaces one and updates the other."""

    state: State
    progress: Progress

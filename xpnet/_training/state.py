"""What changes while a model learns: its state on the device, its progress on the host."""

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
    """Sums over examples: 0-d arrays, but numbers before the first step. errors: None without classes."""

    loss: Any
    errors: Any


class State(NamedTuple):
    """Everything that a training step changes.

    Fields:
        totals: of the epoch so far.
        step: int32 (1,), the number of steps before.
        finite_steps: int32, a 0-d array: after how many steps of the epoch the sum of losses was finite.
    """

    params: Tree
    statistics: Tree
    optimizer: Tree
    totals: Totals
    step: Array
    finite_steps: Array

    def variables(self, optimizer: Optimizer) -> Tree:
        """Parameters and statistics as the network takes them outside training."""
        return tree.merge(optimizer.evaluation_params(self.params, self.optimizer), self.statistics)


def initial_state(net: Layer, optimizer: Optimizer, backend: Backend, seed: int) -> State:
    """The state before the first step; ConfigError for a layer whose `init` gives no tree of arrays."""
    statistics, params = net.init_statistics(), net.init(random.generator(seed, "weights"))
    trees.require_arrays(net, statistics, "init_statistics")
    trees.require_arrays(net, params, "init")
    params = tree.map(backend.copy, params)
    statistics = tree.map(backend.copy, statistics)
    zero = backend.from_host(np.zeros(1, np.int32))
    return State(params, statistics, optimizer.init(params), Totals(0.0, 0), zero, zero[0, ...])


class Batches(NamedTuple):
    """What decides which examples are in which batch, beside the seed and the epoch."""

    examples: int
    batch_size: int
    shuffle: bool


@dataclass
class Progress:
    """Where a training is.

    Attributes:
        epoch: the number of epochs done.
        epoch_step: the number of steps done of the next epoch.
        epoch_seconds: the time that these steps took.
        batches: the batches of the last `fit`; None before the first.
        history: the metrics of each epoch.
        learning_rate: of the last step; NaN before the first.
        stopping: whether `fit` ends after the current step.
        participants: the schedule and the callbacks of the last `fit`, by name.
        loaded: their states in a loaded checkpoint, until the next `fit` hands them over.
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
        """The epoch has come to that step."""
        self.epoch_step, self.learning_rate, self.epoch_seconds = step, learning_rate, epoch_seconds

    def end_epoch(self, metrics: EpochMetrics) -> None:
        """The epoch is over, with these metrics."""
        self.epoch, self.epoch_step = metrics.epoch, 0
        self.history.append(metrics)


@dataclass
class Training:
    """The state and the progress of one model; the training loop replaces the one and advances the other."""

    state: State
    progress: Progress

"""Trainings of `sweep`: one by one, and those that differ in numbers alone as one `Ensemble`."""

import dataclasses
import math
import warnings
from collections.abc import Hashable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple, TypeVar

import numpy as np

from xpnet import data, tree
from xpnet._training import cost
from xpnet.backend import BACKENDS
from xpnet.callbacks import EarlyStopping
from xpnet.ensemble import Ensemble
from xpnet.errors import DivergedError
from xpnet.metrics import EpochMetrics, Evaluation
from xpnet.model import Model
from xpnet.train import networks
from xpnet.train.config import Config
from xpnet.train.experiment import make_model

LARGE = 20_000  # training examples of a data set that needs fewer epochs and seeds
DIVERGED = Evaluation(math.nan, math.nan, None)
# What may differ in an ensemble. A number is 0 for all of its networks or for none: 0 makes shorter steps.
NUMBERS = ("learning_rate", "momentum", "weight_decay", "l2", "dropout")
FREE = ("seed", "weight_init", "weight_scale")
AT_ONCE = 16  # networks at once where more are slower, or each takes much memory
MEMORY = 1 << 26  # parameters of all networks: 1 GiB with gradients and optimizer state
T = TypeVar("T")


class Data(NamedTuple):
    """The examples to train on, to choose a variant by, and to test on at the end, or after each epoch."""

    train: data.Examples
    validation: data.Examples
    test: data.Examples
    classes: int
    test_each_epoch: bool = False

    def choose(self, small: T, large: T) -> T:
        """`large` on a large data set such as all of MNIST, where an epoch has many steps, else `small`."""
        return large if len(self.train.y) > LARGE else small


class Run(NamedTuple):
    """One training.

    Fields:
        history: the epochs up to the end, an early stop or a divergence. `seconds` of networks that train
            together is their time divided by their number.
        train, validation, test: after the last epoch, or the best one with early stopping; nan after a
            divergence.
        weight_norm: √Σw² over all weights, at the same time.
        diverged: the message of the DivergedError, or "".
    """

    seed: int
    history: list[EpochMetrics]
    train: Evaluation
    validation: Evaluation
    test: Evaluation
    weight_norm: float
    diverged: str


def train(config: Config, examples: Data) -> tuple[Model, Run]:
    """Train as the config says, without files. A divergence ends the run, and `Run.diverged` says so.

    With `config.early_stopping` the model ends with the parameters of its best epoch.
    """
    model = make_model(config, examples.train.x.shape[1:], examples.classes)
    diverged = ""
    try:
        _fit(model, config, examples)
    except DivergedError as error:
        diverged = str(error)
    test = DIVERGED if diverged else model.evaluate(*examples.test)
    return model, _run(model, config, examples, test, diverged)


def train_together(configs: Sequence[Config], examples: Data) -> list[Run]:
    """`train` with each of these configs, which are of one `kind`, at once."""
    first, shape = configs[0], examples.train.x.shape[1:]
    ensemble = Ensemble(
        [networks.build(config, shape, examples.classes) for config in configs],
        first.make_loss(),
        [config.make_optimizer() for config in configs],
        backend=first.backend,
        seeds=[config.seed for config in configs],
        dtype=first.dtype,
        device=first.device,
        l2=[config.l2 for config in configs],
        augment=first.make_augmentation(),
        micro_batch=first.micro_batch or None,
        tf32=first.tf32,
    )
    with suppress(DivergedError), warnings.catch_warnings():  # `ensemble.diverged` has all of them
        warnings.filterwarnings("ignore", "network .* has diverged")
        _fit(ensemble, first, examples)
    found = ensemble.evaluate(*examples.test)
    lengths = [len(model.history) for model in ensemble]
    runs = []
    for k, (model, config) in enumerate(zip(ensemble, configs, strict=True)):
        numbers: list[Any] = [values if values is None else values[k].item() for values in found]
        test = Evaluation(*numbers)
        run = _run(model, config, examples, test, ensemble.diverged.get(k, ""))
        shares = [sum(length >= metrics.epoch for length in lengths) for metrics in run.history]
        history = [
            metrics._replace(
                seconds=metrics.seconds / share, images_per_second=metrics.images_per_second * share
            )
            for metrics, share in zip(run.history, shares, strict=True)
        ]
        runs.append(run._replace(history=history))
    return runs


def _fit(learner: Model | Ensemble, config: Config, examples: Data) -> None:
    stopping = EarlyStopping(config.early_stopping, "validation_accuracy") if config.early_stopping else None
    with np.errstate(all="ignore"):  # DivergedError says more than the warnings of NumPy
        learner.fit(
            *examples.train,
            epochs=config.epochs,
            batch_size=config.batch_size,
            validation=examples.validation,
            shuffle=config.shuffle,
            schedule=config.make_schedule(),
            callbacks=stopping,
            progress=False,
            train_metrics="end",
            test=examples.test if examples.test_each_epoch and not _tests_by_validation(examples) else None,
        )


def _tests_by_validation(examples: Data) -> bool:
    return examples.test is examples.validation


def _run(model: Model, config: Config, examples: Data, test: Evaluation, diverged: str) -> Run:
    """What a trained model has to tell; `test` is its evaluation now."""
    history = list(model.history)
    if examples.test_each_epoch and _tests_by_validation(examples):
        history = [
            metrics._replace(test_loss=metrics.validation_loss, test_accuracy=metrics.validation_accuracy)
            for metrics in history
        ]
    if diverged:
        return Run(config.seed, history, DIVERGED, DIVERGED, DIVERGED, math.nan, diverged)
    final = history[-1]
    if config.early_stopping:  # the first of the best, which it has restored
        final = max(history, key=lambda metrics: metrics.validation_accuracy or 0.0)
    weights = [model.backend.to_numpy(w) for w in tree.weights(model.params)]
    with np.errstate(over="ignore"):
        norm = math.hypot(*(float(np.linalg.norm(w)) for w in weights))
    train = _evaluation(final.train_loss, final.train_accuracy, examples.train)
    validation = _evaluation(final.validation_loss, final.validation_accuracy, examples.validation)
    return Run(config.seed, history, train, validation, test, norm, "")


def _evaluation(loss: float | None, accuracy: float | None, examples: data.Examples) -> Evaluation:
    """The evaluation on these examples that an epoch ended with."""
    assert loss is not None
    errors = None if accuracy is None else round((1 - accuracy) * len(examples.y))
    return Evaluation(loss, accuracy, errors)


class Size(NamedTuple):
    """The parameters of a network, and the operations of its training, roughly."""

    parameters: int
    operations: int


def size_of(config: Config, examples: Data) -> Size:
    """The size of a training."""
    shape = examples.train.x.shape[1:]
    model = make_model(config, shape, examples.classes)
    operations = cost.flops(model.net, model.params, (1, *shape)).forward
    return Size(model.parameter_count(), operations * len(examples.train.y) * config.epochs)


class Task(NamedTuple):
    """A training to do."""

    config: Config
    examples: Data
    size: Size

    @property
    def kind(self) -> Hashable:
        """What trainings must have in common to be networks of one ensemble: all but numbers."""
        config = self.config
        others = [field.name for field in dataclasses.fields(config) if field.name not in (*NUMBERS, *FREE)]
        same = *(getattr(config, name) for name in others), *(getattr(config, name) > 0 for name in NUMBERS)
        return same, id(self.examples)

    @property
    def most(self) -> int:
        """The number of networks that may train together; 1: this one trains alone, which is faster."""
        library = BACKENDS[self.config.backend]
        if self.config.channels:
            return AT_ONCE if library.stacks_convolutions else 1
        if library.stacked_parameters is not None:
            return AT_ONCE if self.size.parameters <= library.stacked_parameters else 1
        return max(1, MEMORY // self.size.parameters)


def pieces(tasks: Sequence[Task], processes: int) -> list[list[int]]:
    """The positions of tasks that train together, the longest trainings first.

    With several processes, a piece is at most half of the share of each in the work that is left: the pieces
    get smaller, so that all processes end at nearly the same time. (Polychronopoulos and Kuck, "Guided
    self-scheduling", 1987.)
    """
    groups: dict[Hashable, list[int]] = {}
    for i, task in enumerate(tasks):
        groups.setdefault(task.kind, []).append(i)
    left, found = sum(task.size.operations for task in tasks), []
    for group in sorted(groups.values(), key=lambda group: -tasks[group[0]].size.operations):
        first = tasks[group[0]]
        while group:
            share = left // (2 * processes * first.size.operations) if processes > 1 else len(group)
            n = min(first.most, max(share, 1))
            found.append(group[:n])
            group, left = group[n:], left - len(group[:n]) * first.size.operations
    return found


def run(tasks: Sequence[Task], pieces: Sequence[Sequence[int]], i: int) -> list[Run]:
    """Do the tasks of piece i."""
    first, *_ = piece = [tasks[position] for position in pieces[i]]
    if first.most == 1:  # by the task alone, so that the numbers do not depend on the pieces
        return [train(config, examples)[1] for config, examples, _ in piece]
    return train_together([task.config for task in piece], first.examples)

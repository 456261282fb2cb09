"""The metrics of an epoch: the running mean of the training, and what is measured after the last step."""

import math
from typing import Any, NamedTuple

from xpnet._training import evaluation, outcome
from xpnet._training.inputs import naming
from xpnet._training.program import Program
from xpnet._training.sources import Source
from xpnet._training.state import Start, Training
from xpnet.metrics import EpochMetrics, Evaluation
from xpnet.tree import Tree

NOTHING = None, None  # loss and accuracy where there are no data


class Measures(NamedTuple):
    """What to measure after each epoch, with the network in evaluation mode.

    Fields:
        train: the number of training examples, the first ones; None: all; 0: none, the running mean stands
            for them.
        validation, test: checked and placed data, as `evaluation.measure` takes them, or None.
    """

    train: int | None = 0
    validation: Any = None
    test: Any = None


def epoch_metrics(
    program: Program,
    training: Training,
    source: Source,
    measures: Measures,
    seconds: float,
    start: Start,
) -> EpochMetrics:
    """The metrics of the epoch that just ended.

    Raises DivergedError if the loss of the trained network on the training data is infinite or NaN; the
    training is then where the epoch started.

    Arguments:
        source: the training data.
        seconds: the duration of the steps.
        start: where they started.
    """
    state, progress = training.state, training.progress
    n, at_end = source.examples(progress.epoch_step), measures.train != 0
    measured_at_all = at_end or measures.validation or measures.test
    variables = state.variables(program.optimizer) if measured_at_all else {}

    def measured(name: str, data: Any, examples: int | None = None) -> Evaluation:
        with naming(name):
            return evaluation.measure(program, variables, data, examples)

    if at_end:
        train = measured("training data", source.data(), measures.train)
        _require_finite(program, training, start, train.loss, variables)
    else:
        train = evaluation.of_totals(state.totals, n, penalty=0.0)
    validation = measured("validation", measures.validation)[:2] if measures.validation else NOTHING
    test = measured("test", measures.test)[:2] if measures.test else NOTHING
    return EpochMetrics(
        epoch=progress.epoch + 1,
        train_loss=train.loss,
        train_accuracy=train.accuracy,
        validation_loss=validation[0],
        validation_accuracy=validation[1],
        learning_rate=progress.learning_rate,
        seconds=seconds,
        images_per_second=n / seconds,
        test_loss=test[0],
        test_accuracy=test[1],
        train_metrics="end" if at_end else "running",
    )


def _require_finite(program: Program, training: Training, start: Start, loss: Any, variables: Tree) -> None:
    if not math.isfinite(loss):
        epoch, rate = training.progress.epoch + 1, training.progress.learning_rate
        training.go_back(start)
        problem = (
            f"epoch {epoch}, after its last step, learning rate {rate:g}: expected a finite loss, got {loss}"
        )
        outcome.diverged(program.backend, problem, variables)

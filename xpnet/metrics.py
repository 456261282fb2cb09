"""Metrics: numbers on the host."""

from typing import NamedTuple


class Evaluation(NamedTuple):
    """The result of `Model.evaluate`.

    Fields:
        loss: the mean over all examples, or over those that the loss counts.
        accuracy: the share of these examples whose class is predicted right; None if the targets are not
            classes, or no example counts.
        errors: the number of examples whose class is predicted wrong, or the sum of their weights; None if
            the targets are not classes.

    With weights of examples, loss and accuracy are weighted means.
    """

    loss: float
    accuracy: float | None
    errors: float | None


class EpochMetrics(NamedTuple):
    """The metrics of one epoch of `Model.fit`.

    Fields:
        epoch: counted from 1.
        train_loss: the mean over the batches of the epoch, each measured before its update.
        train_accuracy: likewise; None if the targets are not classes.
        validation_loss: after the last update; None without validation.
        validation_accuracy: likewise; None also if the targets are not classes.
        learning_rate: the learning rate of the last step.
        seconds: the time of the training steps, without validation.
        images_per_second: training examples divided by `seconds`.
    """

    epoch: int
    train_loss: float
    train_accuracy: float | None
    validation_loss: float | None
    validation_accuracy: float | None
    learning_rate: float
    seconds: float
    images_per_second: float

"""The metrics of a training: numbers on the host."""

from typing import NamedTuple


class Evaluation(NamedTuple):
    """What `Model.evaluate` finds; accuracy and errors are None where the targets name no class."""

    loss: float
    accuracy: float | None
    errors: int | None


class EpochMetrics(NamedTuple):
    """The metrics of an epoch of `Model.fit`.

    Training loss and accuracy are means over the epoch's batches, each taken before its update.
    `seconds` and `images_per_second` are of the training steps alone, without validation.
    """

    epoch: int
    train_loss: float
    train_accuracy: float | None
    validation_loss: float | None
    validation_accuracy: float | None
    learning_rate: float
    seconds: float
    images_per_second: float

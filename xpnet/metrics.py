"""Metrics: numbers on the host."""

from typing import TYPE_CHECKING, Any, NamedTuple

from xpnet._util import html
from xpnet.errors import ConfigError

if TYPE_CHECKING:
    from xpnet.plots.drawing import Picture


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

    All losses include the L2 penalty. An accuracy is None if the targets are not classes.

    Fields:
        epoch: counted from 1.
        train_loss: the loss on the training examples, as `train_metrics` says.
        train_accuracy: likewise.
        validation_loss: after the last update; None without validation.
        validation_accuracy: likewise.
        learning_rate: the learning rate of the last step.
        seconds: the time of the training steps alone.
        images_per_second: training examples divided by `seconds`.
        test_loss: after the last update, with `fit(…, test=(x, y))`; else None. Nothing is chosen by it.
        test_accuracy: likewise.
        train_metrics: "running": train_loss and train_accuracy are means over the batches of the epoch, each
            measured before its own update, in training mode (dropout drops, augmentation changes x); or
            "end": they are those after the last update, in evaluation mode, as `Model.evaluate` gives them.
    """

    epoch: int
    train_loss: float
    train_accuracy: float | None
    validation_loss: float | None
    validation_accuracy: float | None
    learning_rate: float
    seconds: float
    images_per_second: float
    test_loss: float | None = None
    test_accuracy: float | None = None
    train_metrics: str = "running"


TRAIN_METRICS = ("running", "end")  # what `EpochMetrics.train_metrics` may be
SPEED = ("seconds", "images_per_second")
MOST_ROWS = 20  # epochs in the table of a notebook


class History(list[EpochMetrics]):
    """The metrics of epochs, as `Model.fit` returns them: a list, with a table and a picture of it."""

    def to_frame(self) -> Any:
        """A pandas DataFrame with the columns of `EpochMetrics`, a row for each epoch; NaN for None.

        Raises ConfigError without pandas.
        """
        try:
            import pandas
        except ImportError as error:
            raise ConfigError(
                "to_frame: expected pandas, got none: pip install pandas; without it, "
                "[epoch.train_loss for epoch in history] is a column"
            ) from error
        frame = pandas.DataFrame(list(self), columns=list(EpochMetrics._fields))
        numbers = [name for name in frame.columns if name not in ("epoch", "train_metrics")]
        return frame.astype({"epoch": "int64"} | dict.fromkeys(numbers, "float64"))

    def plot(self, title: str = "") -> "Picture":
        """Loss and accuracy against the epoch, as `xpnet.plots.curves` draws them: a Matplotlib figure."""
        from xpnet import plots  # late: it imports the layers, which need no metrics

        return plots.curves(self, title=title)

    def _repr_html_(self, caption: str = "") -> str | None:
        """The table that a notebook shows: what was measured; of many epochs, the first and the last."""
        if not self:
            return None
        names = [
            name
            for name in EpochMetrics._fields
            if name not in SPEED and any(getattr(each, name) is not None for each in self)
        ]
        rows = [[_cell(name, getattr(each, name)) for name in names] for each in self]
        if len(rows) > MOST_ROWS:
            rows[MOST_ROWS // 2 : -(MOST_ROWS // 2)] = [["…"] * len(names)]
        return html.table([names, *rows], caption=caption)


def _cell(name: str, value: float | str | None) -> str:
    """Losses and accuracies with four digits, zeros at their end included."""
    if isinstance(value, float):
        return f"{value:,.0f}" if value >= 1000 else f"{value:{'' if name == 'learning_rate' else '#'}.4g}"
    return "" if value is None else str(value)

"""The metrics of the networks of an ensemble."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from xpnet._util.text import some
from xpnet.errors import ConfigError
from xpnet.metrics import EpochMetrics, History

if TYPE_CHECKING:
    from xpnet.plots.drawing import Picture

NUMBERS = [name for name in EpochMetrics._fields if name not in ("epoch", "train_metrics")]


class EnsembleEvaluation(NamedTuple):
    """The result of `Ensemble.evaluate`: `Evaluation` of each network, as arrays (K,).

    Fields:
        loss, accuracy, errors: see `xpnet.metrics.Evaluation`; None if the targets are not classes.
    """

    loss: np.ndarray
    accuracy: np.ndarray | None
    errors: np.ndarray | None


class NetworksMetrics(NamedTuple):
    """The metrics of an epoch of K networks: the fields of `EpochMetrics`, as arrays (K,).

    They are NaN for a network that did not train the epoch, and where a network has no such metric.
    """

    epoch: int
    train_loss: np.ndarray
    train_accuracy: np.ndarray
    validation_loss: np.ndarray
    validation_accuracy: np.ndarray
    learning_rate: np.ndarray
    seconds: np.ndarray
    images_per_second: np.ndarray
    test_loss: np.ndarray
    test_accuracy: np.ndarray
    train_metrics: str


class EnsembleHistory(list[NetworksMetrics]):
    """The metrics of the epochs of an ensemble: a list, with a table and a picture of it.

    Attributes:
        networks: the `History` of each network, as `ensemble[k].history` is.
    """

    networks: list[History]

    @classmethod
    def of(cls, histories: Sequence[Sequence[EpochMetrics]]) -> "EnsembleHistory":
        """The metrics of all networks, by the number of the epoch."""
        by_epoch = [{metrics.epoch: metrics for metrics in history} for history in histories]
        found = cls()
        found.networks = [History(history) for history in histories]
        for epoch in sorted({epoch for each in by_epoch for epoch in each}):
            rows = [each.get(epoch) for each in by_epoch]
            columns = {name: np.array([_number(row, name) for row in rows]) for name in NUMBERS}
            kind = next(row.train_metrics for row in rows if row is not None)
            found.append(NetworksMetrics(epoch=epoch, train_metrics=kind, **columns))
        return found

    def to_frame(self) -> Any:
        """A pandas DataFrame with a row for each epoch and the columns (metric, network).

        `history.to_frame()["validation_loss"]` has a column for each network. Raises ConfigError without
        pandas.
        """
        try:
            import pandas
        except ImportError as error:
            raise ConfigError(
                "to_frame: expected pandas, got none: pip install pandas; without it, "
                "[epoch.train_loss for epoch in history] are the rows of a column for each network"
            ) from error
        columns = pandas.MultiIndex.from_product(
            [NUMBERS, range(len(self.networks))], names=["metric", "network"]
        )
        rows = [np.concatenate([getattr(each, name) for name in NUMBERS]) for each in self]
        index = pandas.Index([each.epoch for each in self], name="epoch", dtype="int64")
        shape = len(rows), len(columns)
        return pandas.DataFrame(np.array(rows, float).reshape(shape), index=index, columns=columns)

    def means(self) -> History:
        """The means over the networks that trained each epoch, as the metrics of one network."""
        found = History()
        for each in self:
            values = {name: getattr(each, name) for name in NUMBERS}
            means = {
                name: None if np.isnan(value).all() else float(np.nanmean(value))
                for name, value in values.items()
            }
            found.append(EpochMetrics(epoch=each.epoch, train_metrics=each.train_metrics, **means))  # type: ignore[arg-type]
        return found

    def plot(self, title: str = "") -> "Picture":
        """The means of loss and accuracy against the epoch: a Matplotlib figure."""
        return self.means().plot(title)

    def _repr_html_(self) -> str | None:
        """The table that a notebook shows: the means."""
        return self.means()._repr_html_(f"means over {some(len(self.networks), 'network')}")


def _number(metrics: EpochMetrics | None, name: str) -> float:
    value = getattr(metrics, name, None)
    return np.nan if value is None else float(value)

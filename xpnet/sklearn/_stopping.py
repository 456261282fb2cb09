"""When an estimator stops to train: the rules of scikit-learn's MLPClassifier."""

import math
from collections.abc import Callable
from typing import Any

from xpnet.callbacks import Callback
from xpnet.metrics import EpochMetrics
from xpnet.model import Model


class Stopping(Callback):
    """Stop after more than `patience` epochs in a row that improved by less than `tolerance`.

    What has to improve is the score on validation data, else the training loss.

    Arguments:
        tolerance: the least improvement that counts.
        patience: the number of epochs without improvement that are allowed.
        score: the score of the network as it is, higher is better, whose best epoch is restored at the end;
            None for the training loss, where nothing is restored.

    Attributes:
        losses: the training loss of each epoch.
        scores: the score of each epoch; empty without `score`.
        best_loss, best_score: the best of each.
        stopped: whether there was no more improvement.
    """

    every_step = False

    def __init__(self, tolerance: float, patience: int, score: Callable[[], float] | None = None) -> None:
        self.tolerance = tolerance
        self.patience = patience
        self.score = score
        self.losses: list[float] = []
        self.scores: list[float] = []
        self.best_loss = math.inf
        self.best_score = -math.inf
        self.stopped = False
        self._without_improvement = 0
        self._best: Any = None

    def on_epoch(self, model: Model, metrics: EpochMetrics) -> None:
        loss = metrics.train_loss
        self.losses.append(loss)
        if self.score is None:
            improved = loss <= self.best_loss - self.tolerance
        else:
            score = self.score()
            self.scores.append(score)
            improved = score >= self.best_score + self.tolerance
            if score > self.best_score:
                self.best_score, self._best = score, model.snapshot()
        self.best_loss = min(self.best_loss, loss)
        self._without_improvement = 0 if improved else self._without_improvement + 1
        if self._without_improvement > self.patience:
            self.stopped = True
            model.stop()

    def on_end(self, model: Model) -> None:
        if self._best is not None:
            model.restore(self._best)

"""The regressor."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.metrics import r2_score

from xpnet import losses
from xpnet.losses import Loss
from xpnet.sklearn._base import Estimator
from xpnet.sklearn._inputs import like, on_host


@dataclass(eq=False, repr=False)
class XPNetRegressor(RegressorMixin, Estimator):  # type: ignore[misc]
    """A network for regression, as an estimator of scikit-learn.

    Parameters mean what they mean for scikit-learn's MLPRegressor, where that has them. The loss is the mean
    squared error; MLPRegressor takes half of it, which `alpha` and the learning rate of "sgd" allow for.
    Inputs X are (n, d), also sparse: a batch at a time is made dense. Targets y are (n,) or (n, d).

    Arguments and attributes are those of `XPNetClassifier`, without `class_weight` and `classes_`. With
    `early_stopping` the score is R².

    Raises ConfigError and DivergedError, and warns, as `XPNetClassifier` does.
    """

    def _loss(self, n_out: int) -> Loss:
        return losses.MeanSquaredError()

    def _gradient_scale(self, n_out: int) -> float:
        return n_out / 2

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> "XPNetRegressor":
        """Train on inputs X (n, …) and targets y (n,) or (n, d), with weights (n,). Returns self."""
        return self._fit(X, y, sample_weight, one_epoch=False)

    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> "XPNetRegressor":
        """Train for one epoch on these examples, from where the last call ended. Returns self."""
        return self._fit(X, y, sample_weight, one_epoch=True)

    def _fit(self, X: Any, y: Any, sample_weight: Any, one_epoch: bool) -> "XPNetRegressor":
        goes_on = self._goes_on(one_epoch)
        x, target = self._read(X, y, multi_output=True, y_numeric=True, reset=not goes_on)
        weights = self._weights(sample_weight, x)
        target = np.asarray(on_host(target), np.float64)
        self._one_column = target.ndim == 1
        target = target.reshape(len(target), -1)
        self._train(x, target, weights, target.shape[1], one_epoch)
        return self

    def predict(self, X: Any) -> Any:
        """The predicted targets, (n,) or (n, d) as y was."""
        x = self._read_fitted(X, "predict")
        return like(self._predicted(x), x)

    def _predicted(self, x: Any) -> np.ndarray:
        outputs = self._outputs(x)
        return outputs[:, 0] if self._one_column else outputs

    def _score_of(self, x: Any, target: np.ndarray, weights: np.ndarray | None) -> float:
        return float(r2_score(target, self._outputs(x), sample_weight=weights))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

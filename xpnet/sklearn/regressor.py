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

    Arguments:
        hidden_layer_sizes: the units of each hidden layer, or one number.
        activation: "identity", "logistic" (or "sigmoid"), "tanh", "relu", "leaky-relu", "elu", "gelu", "silu"
            or "softplus".
        optimizer: "adam", "sgd" (with Nesterov's momentum of 0.9), another name of `--optimizer`, or an
            optimizer of `xpnet.optim`, which has its own learning rate. scikit-learn's MLP calls it `solver`.
        learning_rate_init: the learning rate.
        alpha: α of the L2 penalty α/2 Σw² over all weights, divided by the sum of a batch's weights as in
            scikit-learn's MLP.
        batch_size: examples per step; "auto": min(200, n).
        max_iter: the number of epochs at most.
        shuffle: whether to draw a new order for each epoch.
        random_state: an integer for the same numbers in each `fit`, a RandomState, or None.
        tol, n_iter_no_change: `fit` stops after more than so many epochs in a row in which the training loss,
            or with `early_stopping` the validation score, improved by less than `tol`.
        early_stopping: whether to hold out `validation_fraction` of the examples, and to keep the
            parameters of the epoch with the best score on them.
        warm_start: whether `fit` goes on from the last `fit`.
        verbose: whether to show the progress on standard error.
        dropout: the probability with which a hidden unit is dropped.
        batch_norm: whether to normalise each hidden layer over the batch.
        net: the network instead of a dense one: a layer, or a function of (n_in, n_out) that makes one. X may
            then have more axes, such as images (n, h, w, c); n_in is the size of the second one.
        schedule: from `xpnet.schedules`: a factor on the learning rate.
        callbacks: from `xpnet.callbacks`, or your own: hooks after each step and epoch.
        backend: the array library; "auto": NumPy, or with `array_api_dispatch=True` the library of X.
        device: a device of the library, such as "cuda:1".
        dtype: "float32", "float64", or "auto": float32 if X has it, else float64. float32 takes about half
            the time.

    Attributes:
        n_features_in_, feature_names_in_: the columns of X, and their names if X is a table.
        model_: the `xpnet.Model`, to go on with in your own program.
        loss_curve_, loss_, best_loss_: the training loss of each epoch (the mean over its batches, each
            before its update, with the penalty), of the last one, and the least; best_loss_ is None with
            `early_stopping`.
        validation_scores_, best_validation_score_: R² on the examples held out, after each epoch; None
            without `early_stopping`.
        n_iter_, t_: the epochs of the last `fit`, and the training examples seen.
        n_layers_, n_outputs_: the layers, with the input, and the outputs of the network.
        coefs_, intercepts_: weights (n_in, n_out) and biases (n_out,) of the fully connected layers.

    Raises ConfigError, a ValueError, for a parameter out of range; DivergedError if the loss becomes infinite
    or NaN. Warns with scikit-learn's ConvergenceWarning if `max_iter` ends the training.
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
        goes_on = hasattr(self, "model_") and (self.warm_start or one_epoch)
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

"""The classifier."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.metrics import accuracy_score
from sklearn.utils import column_or_1d
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.multiclass import check_classification_targets, type_of_target

from xpnet import losses
from xpnet.errors import ConfigError, DataError
from xpnet.losses import Loss
from xpnet.sklearn._base import Estimator
from xpnet.sklearn._inputs import is_sparse, like, on_host


@dataclass(eq=False, repr=False)
class XPNetClassifier(ClassifierMixin, Estimator):  # type: ignore[misc]
    """A network that classifies, as an estimator of scikit-learn.

    Parameters mean what they mean for scikit-learn's MLPClassifier, where that has them. The loss is the
    cross-entropy of a softmax; for two classes, and for several labels of one example, of a sigmoid for each
    output. Inputs X are (n, d), also sparse: a batch at a time is made dense. Labels y are (n,), numbers or
    text, or zeros and ones (n, d), several labels for an example.

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
        early_stopping: whether to hold out `validation_fraction` of the examples, in the proportions of the
            classes, and to keep the parameters of the epoch with the best score on them.
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
        class_weight: "balanced", or a dict from labels to weights, which multiply `sample_weight`.

    Attributes:
        classes_: the labels, in the order of the columns of `predict_proba`.
        n_features_in_, feature_names_in_: the columns of X, and their names if X is a table.
        model_: the `xpnet.Model`, to go on with in your own program.
        loss_curve_, loss_, best_loss_: the training loss of each epoch (the mean over its batches, each
            before its update, with the penalty), of the last one, and the least; best_loss_ is None with
            `early_stopping`.
        validation_scores_, best_validation_score_: the accuracy on the examples held out after each epoch;
            None without `early_stopping`.
        n_iter_, t_: the epochs of the last `fit`, and the training examples seen.
        n_layers_, n_outputs_: the layers, with the input, and the outputs of the network.
        coefs_, intercepts_: weights (n_in, n_out) and biases (n_out,) of the fully connected layers.

    Raises ConfigError, a ValueError, for a parameter out of range; DivergedError if the loss becomes infinite
    or NaN. Warns with scikit-learn's ConvergenceWarning if `max_iter` ends the training, unless a schedule
    planned it so.
    """

    class_weight: str | Mapping[Any, float] | None = None

    def _loss(self, n_out: int) -> Loss:
        return losses.BinaryCrossEntropy() if self._is_binary(n_out) else losses.CrossEntropy()

    def _is_binary(self, n_out: int) -> bool:
        """Whether the outputs are true or false each, not classes of which one is true."""
        return self._multilabel or n_out == 1

    def _gradient_scale(self, n_out: int) -> float:
        return n_out if self._is_binary(n_out) else 1

    def _fits(self, outputs: tuple[int, ...], n_out: int) -> bool:
        return not self._multilabel and n_out == 1 and outputs == (1, 2)  # a softmax over two classes

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> "XPNetClassifier":
        """Train on inputs X (n, …) and labels y (n,), or y (n, d) of zeros and ones, with weights (n,)."""
        return self._fit(X, y, sample_weight, None, one_epoch=False)

    def partial_fit(
        self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None
    ) -> "XPNetClassifier":
        """Train for one epoch on these examples, from where the last call ended.

        The first call needs `classes`, all labels that any call will have.
        """
        if classes is None and not hasattr(self, "classes_"):
            raise ConfigError(
                "partial_fit: expected classes, all labels there are, in the first call; got none"
            )
        if self.class_weight == "balanced":
            raise ConfigError(
                "partial_fit: expected class_weight to be a dict or None, got 'balanced', which needs all "
                "examples at once; pass compute_class_weight('balanced', …) of all labels as a dict"
            )
        return self._fit(X, y, sample_weight, classes, one_epoch=True)

    def _fit(self, X: Any, y: Any, sample_weight: Any, classes: Any, one_epoch: bool) -> "XPNetClassifier":
        goes_on = self._goes_on(one_epoch)
        x, labels = self._read(X, y, multi_output=True, reset=not goes_on)
        in_library = labels
        labels = on_host(labels.toarray() if is_sparse(labels) else labels)
        if labels.ndim == 2 and labels.shape[1] == 1:
            labels = column_or_1d(labels, warn=True)
        check_classification_targets(labels)
        kind = type_of_target(labels)
        if kind == "multiclass-multioutput":
            raise DataError(
                f"{self._name()}: expected y of labels (n,), or of zeros and ones (n, d), got other numbers "
                f"of shape {labels.shape}; sklearn.multioutput.MultiOutputClassifier trains a network for "
                "each column"
            )
        weights = self._weights(sample_weight, x)
        if self.class_weight is not None:
            each = compute_sample_weight(self.class_weight, labels)
            weights = each if weights is None else weights * each
        if not goes_on:
            self._multilabel = kind == "multilabel-indicator"
            self._set_classes(labels, in_library, classes)
        target = self._encoded(labels, classes)
        k = self.classes_.shape[0]
        self._train(x, target, weights, k if self._multilabel or k > 2 else 1, one_epoch)
        return self

    def _set_classes(self, labels: np.ndarray, in_library: Any, classes: Any) -> None:
        found = (
            np.arange(labels.shape[1])
            if self._multilabel
            else np.unique(labels if classes is None else classes)
        )
        self.classes_ = found if is_sparse(in_library) else like(found, in_library)

    def _encoded(self, labels: np.ndarray, classes: Any) -> np.ndarray:
        """The targets of the network: integers (n,), or zeros and ones (n, d)."""
        known = on_host(self.classes_)
        if classes is not None and not np.array_equal(np.unique(classes), known):
            raise DataError(
                f"partial_fit: expected the classes of the first call, {known}, got {np.unique(classes)}"
            )
        if self._multilabel:
            return labels.astype(np.float64)
        unknown = np.setdiff1d(labels, known)
        if len(unknown):
            raise DataError(
                f"{self._name()}: expected labels in y that the first fit had, {known}, got {unknown}"
            )
        return np.searchsorted(known, labels).astype(np.int64)

    def predict(self, X: Any) -> Any:
        """The predicted labels (n,), or zeros and ones (n, d)."""
        x = self._read_fitted(X, "predict")
        return like(self._predicted(x), x)

    def _predicted(self, x: Any) -> np.ndarray:
        indices = self._outputs(x)
        return indices.astype(np.int64) if self._multilabel else on_host(self.classes_)[indices]

    def predict_proba(self, X: Any) -> Any:
        """The probability of each class in the order of `classes_`, (n, k); for several labels, of each."""
        x = self._read_fitted(X, "predict_proba")
        return like(self._probabilities(x), x)

    def predict_log_proba(self, X: Any) -> Any:
        """The logarithm of `predict_proba`."""
        x = self._read_fitted(X, "predict_log_proba")
        with np.errstate(divide="ignore"):
            return like(np.log(self._probabilities(x)), x)

    def _probabilities(self, x: Any) -> np.ndarray:
        found = self._outputs(x, probabilities=True)
        if self._multilabel:
            return found
        if found.shape[1] == 1:
            found = np.concatenate([1 - found, found], axis=1)
        found = found[:, : self.classes_.shape[0]]
        return found / found.sum(axis=1, keepdims=True)

    def _strata(self, target: np.ndarray) -> np.ndarray | None:
        return None if self._multilabel else target

    def _score_of(self, x: Any, target: np.ndarray, weights: np.ndarray | None) -> float:
        found = self._outputs(x)
        return float(accuracy_score(target, found, sample_weight=weights))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags

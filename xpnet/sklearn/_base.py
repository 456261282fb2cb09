"""What the classifier and the regressor share: parameters, the network, and the training."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import Any

import numpy as np
import sklearn
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from xpnet import backend as backends
from xpnet import nn, optim
from xpnet._training.arguments import callbacks_of
from xpnet.callbacks import Callback
from xpnet.errors import ConfigError, ShapeError
from xpnet.losses import Loss
from xpnet.model import Model
from xpnet.schedules import Schedule
from xpnet.sklearn._checks import NAMES, check_parameters, refuse
from xpnet.sklearn._inputs import ROWS, DenseRows, is_on_host, is_sparse, library_of, on_host
from xpnet.sklearn._stopping import Stopping
from xpnet.train.registry import ACTIVATIONS, OPTIMIZERS

Net = nn.Layer | Callable[[int, int], nn.Layer]


def _place_of(x: Any) -> tuple[str, str]:
    """The library and the device of an array; those of NumPy for anything else."""
    return library_of(x), "cpu" if is_on_host(x) else str(backends.device(x))


@dataclass(eq=False, repr=False)
class Estimator(BaseEstimator):  # type: ignore[misc]
    """The base class of `XPNetClassifier` and `XPNetRegressor`, which document the parameters."""

    hidden_layer_sizes: int | Sequence[int] = (100,)
    activation: str = "relu"
    _: KW_ONLY
    optimizer: str | optim.Optimizer = "adam"
    learning_rate_init: float = 0.001
    alpha: float = 0.0001
    batch_size: int | str = "auto"
    max_iter: int = 200
    shuffle: bool = True
    random_state: Any = None
    tol: float = 0.0001
    n_iter_no_change: int = 10
    early_stopping: bool = False
    validation_fraction: float = 0.1
    warm_start: bool = False
    verbose: bool = False
    dropout: float = 0.0
    batch_norm: bool = False
    net: Net | None = None
    schedule: Schedule | None = None
    callbacks: Sequence[Callback] | Callback | None = None
    backend: str = "auto"
    device: Any = None
    dtype: str = "auto"

    n_iter_: int = field(init=False)
    loss_curve_: list[float] = field(init=False)

    # What the classifier and the regressor define.

    def _loss(self, n_out: int) -> Loss:
        """The loss for a network with n_out outputs."""
        raise NotImplementedError

    def _gradient_scale(self, n_out: int) -> float:
        """The loss of scikit-learn's MLP divided by `_loss`: ½ d for a mean squared error of d outputs."""
        raise NotImplementedError

    def _score_of(self, x: Any, target: np.ndarray, weights: np.ndarray | None) -> float:
        """The score that early stopping watches, from targets as the network has them."""
        raise NotImplementedError

    # The training.

    def _train(
        self, x: Any, target: np.ndarray, weights: np.ndarray | None, n_out: int, one_epoch: bool = False
    ) -> None:
        """Train a network with n_out outputs, a new one or, if it is to go on, `model_`."""
        check_parameters(self)
        random_state = check_random_state(self.random_state)
        held_out: tuple[Any, ...] = ()
        if self.early_stopping and one_epoch:
            raise ConfigError("partial_fit: expected early_stopping=False, got True; call fit")
        if self.early_stopping:
            x, target, weights, held_out = self._split(x, target, weights, random_state)
        n = x.shape[0]
        size = min(200, n) if self.batch_size == "auto" else self._clipped(n)
        # The penalty α/2 Σw² is divided by the weight of a batch, as in scikit-learn's MLP.
        l2 = self.alpha / (size * (1.0 if weights is None else float(weights.mean())))
        if self._goes_on(one_epoch):
            self._go_on(x, n_out, l2, size)
        else:
            self._place = _place_of(x)
            self._start(x, n_out, l2, int(random_state.randint(2**31 - 1)))
            self.t_ = 0
        self._penalty_of = self.alpha, size
        score = (lambda: self._score_of(*held_out)) if held_out else None
        stopping = Stopping(self.tol, self.n_iter_no_change, score)
        epochs = 1 if one_epoch else self.max_iter
        rows: Any = DenseRows(x) if is_sparse(x) else self._for_model(x)
        try:
            self.model_.fit(
                rows,
                target,
                epochs=epochs,
                batch_size=size,
                shuffle=bool(self.shuffle),
                schedule=self.schedule,
                callbacks=(*callbacks_of(self.callbacks), stopping),
                sample_weight=weights,
                progress=bool(self.verbose),
                data_on_device=False if is_sparse(x) else None,
            )
        except KeyboardInterrupt:
            warnings.warn(
                f"{self._name()}: the training was interrupted; the model is as far as it came", stacklevel=4
            )
        self._record(stopping, n, one_epoch)
        planned = one_epoch or self.schedule is not None
        if self.n_iter_ == epochs and not stopping.stopped and not planned:
            warnings.warn(
                f"{self._name()}: reached max_iter={self.max_iter} before the training converged; "
                "raise max_iter, or tol",
                ConvergenceWarning,
                stacklevel=4,
            )

    def _record(self, stopping: Stopping, n: int, one_epoch: bool) -> None:
        """Set the attributes that describe the training."""
        if one_epoch and hasattr(self, "loss_curve_"):
            self.loss_curve_ += stopping.losses
            self.n_iter_ += len(stopping.losses)
        else:
            self.loss_curve_ = stopping.losses
            self.n_iter_ = len(stopping.losses)
        self.t_ += n * len(stopping.losses)
        self.loss_ = self.loss_curve_[-1] if self.loss_curve_ else np.inf
        watched = self.early_stopping
        self.best_loss_ = None if watched else min(self.loss_curve_, default=np.inf)
        self.validation_scores_ = stopping.scores if watched else None
        self.best_validation_score_ = stopping.best_score if watched else None

    def _start(self, x: Any, n_out: int, l2: float, seed: int) -> None:
        """Set `model_` to a new model."""
        net = self._make_net(x.shape[1], n_out)
        try:
            outputs = tuple(net.output_shape((1, *x.shape[1:])))
        except ShapeError as error:
            raise ConfigError(f"{self._name()}: net does not take X of shape {x.shape}: {error}") from error
        if outputs != (1, n_out) and not self._fits(outputs, n_out):
            raise ConfigError(
                f"{self._name()}: expected net to have {n_out} outputs for each example, got {outputs[1:]}"
            )
        scale = self._gradient_scale(outputs[-1])
        name, device = self._library(x)
        self.model_ = Model(
            net,
            self._loss(outputs[-1]),
            self._make_optimizer(scale),
            backend=name,
            device=device,
            dtype=self._precision(x),
            seed=seed,
            l2=l2 / scale,
        )
        self.n_outputs_ = outputs[-1]
        self.n_layers_ = 1 + len(self._dense())

    def _goes_on(self, one_epoch: bool) -> bool:
        """Whether the training goes on with `model_`."""
        return hasattr(self, "model_") and (self.warm_start or one_epoch)

    def _go_on(self, x: Any, n_out: int, l2: float, size: int) -> None:
        """Let `model_` go on with the parameters that may have changed since the last call.

        Raises ConfigError for a parameter that needs another network.
        """
        model = self.model_
        for name, before, now in (
            ("its network", repr(model.net), self._same_net(x.shape[1], n_out)),
            ("backend", model.backend.name, self.backend),
            ("dtype", model.backend.dtype_name, self.dtype),
        ):
            if now not in (before, "auto"):
                raise ConfigError(
                    f"{self._name()}: expected {name} to stay {before}, with which warm_start and "
                    f"partial_fit go on, got {now}; clone the estimator to train another one"
                )
        scale = self._gradient_scale(self.n_outputs_)
        optimizer = self._make_optimizer(scale)
        if optimizer != model.optimizer:
            model.optimizer = optimizer
        if self._penalty_of != (self.alpha, size):
            model.l2 = l2 / scale

    def _same_net(self, n_in: int, n_out: int) -> str:
        """The network that the parameters describe; "auto" where a function makes it, which may be drawn."""
        by_function = self.net is not None and not isinstance(self.net, nn.Layer)
        return "auto" if by_function else repr(self._make_net(n_in, n_out))

    def _fits(self, outputs: tuple[int, ...], n_out: int) -> bool:
        """Whether a network with other outputs than (1, n_out) will do."""
        return False

    def _make_net(self, n_in: int, n_out: int) -> nn.Layer:
        if isinstance(self.net, nn.Layer):
            return self.net
        if self.net is not None:
            made = self.net(n_in, n_out)
            if not isinstance(made, nn.Layer):
                refuse(self, "net", "a function that returns a layer of xpnet.nn", made)
            return made
        sizes = self.hidden_layer_sizes
        layers: list[nn.Layer] = []
        for size in sizes if hasattr(sizes, "__iter__") else [sizes]:
            layers.append(nn.Linear(n_in, size, bias=not self.batch_norm))
            if self.batch_norm:
                layers.append(nn.BatchNorm(size))
            layers.append(ACTIVATIONS[NAMES.get(self.activation, self.activation)].make())
            if self.dropout:
                layers.append(nn.Dropout(self.dropout))
            n_in = size
        return nn.Sequential(*layers, nn.Linear(n_in, n_out))

    def _make_optimizer(self, scale: float) -> optim.Optimizer:
        if isinstance(self.optimizer, optim.Optimizer):
            return self.optimizer
        if self.optimizer == "sgd":  # as scikit-learn's MLP has it, whose gradient is `scale` times this one
            return optim.SGD(self.learning_rate_init * scale, momentum=0.9, nesterov=True)
        return OPTIMIZERS[self.optimizer].make(self.learning_rate_init)

    def _library(self, x: Any) -> tuple[str, Any]:
        """The names of the backend and its device: those of x if `backend` is "auto"."""
        if self.backend != "auto":
            return self.backend, self.device
        here = is_on_host(x) or self.device is not None
        return library_of(x), self.device if here else backends.device(x)

    def _precision(self, x: Any) -> str:
        if self.dtype != "auto":
            return self.dtype
        return "float32" if str(x.dtype).endswith("float32") else "float64"

    def _split(
        self, x: Any, target: np.ndarray, weights: np.ndarray | None, random_state: Any
    ) -> tuple[Any, np.ndarray, np.ndarray | None, tuple[Any, ...]]:
        """The training part of the examples, and the part to watch."""
        rows = train_test_split(
            np.arange(x.shape[0]),
            test_size=self.validation_fraction,
            random_state=random_state,
            stratify=self._strata(target),
        )
        if len(rows[1]) < 2:
            raise ConfigError(
                f"{self._name()}: expected validation_fraction to hold out at least 2 examples, "
                f"got {self.validation_fraction} of {x.shape[0]}"
            )
        parts = [[None if each is None else each[part] for each in (x, target, weights)] for part in rows]
        return *parts[0], tuple(parts[1])  # type: ignore[return-value]

    def _strata(self, target: np.ndarray) -> np.ndarray | None:
        """The class of each example, in whose proportions to split; None to ignore them."""
        return None

    def _clipped(self, n: int) -> int:
        size = int(self.batch_size)
        if size > n:
            warnings.warn(
                f"{self._name()}: batch_size={size} is more than the {n} examples; it is {n}", stacklevel=5
            )
        return min(size, n)

    # Parameters and inputs.

    def _name(self) -> str:
        return type(self).__name__

    def _read_fitted(self, x: Any, method: str) -> Any:
        """X, checked for a method of the trained network."""
        check_is_fitted(self)
        if sklearn.get_config()["array_api_dispatch"] and (found := _place_of(x)) != self._place:
            raise ShapeError(
                f"{self._name()}.{method}() must use the same namespace and device as fit(): "
                f"expected an array of {' on '.join(self._place)}, got one of {' on '.join(found)}"
            )
        return self._read(x, reset=False)

    def _read(self, x: Any, *y: Any, **options: Any) -> Any:
        """X, or X and y, checked: numbers in rows, or arrays of more axes for a `net`."""
        dispatched = sklearn.get_config()["array_api_dispatch"] and not is_on_host(x)
        xp: Any = backends.namespace(x) if dispatched else np
        return validate_data(
            self,
            x,
            *y,
            accept_sparse="csr",
            allow_nd=self.net is not None,
            dtype=[xp.float64, xp.float32],
            **options,
        )

    def _weights(self, sample_weight: Any, x: Any) -> np.ndarray | None:
        if sample_weight is None:
            return None
        weights = _check_sample_weight(
            on_host(sample_weight), np.empty((x.shape[0], 1)), ensure_non_negative=True
        )
        if not weights.sum() > 0:
            raise ConfigError(
                f"{self._name()}: expected sample_weight to hold a weight above 0, got zeros alone"
            )
        return weights

    # The trained network.

    def _outputs(self, x: Any, probabilities: bool = False) -> np.ndarray:
        """The network's outputs for X, or their probabilities, on the host."""
        call = self.model_.predict_proba if probabilities else self.model_.predict
        if not is_sparse(x):
            return call(self._for_model(x))
        rows = DenseRows(x)
        return np.concatenate([call(rows[i : i + ROWS]) for i in range(0, len(rows), ROWS)])

    def _for_model(self, x: Any) -> Any:
        """x, on the host if `backend` is not its library, which may not read it from a device."""
        return x if library_of(x) == self.model_.backend.name else on_host(x)

    def _dense(self) -> list[dict[str, Any]]:
        """The parameters of the Linear layers of a network that is a Sequential, in order."""
        net = self.model_.net
        params = self.model_.snapshot()
        if not isinstance(net, nn.Sequential):
            return []
        each = zip(net.layers, params, strict=True)
        return [values for layer, values in each if isinstance(layer, nn.Linear)]

    @property
    def coefs_(self) -> list[np.ndarray]:
        """The weights of each fully connected layer, (n_in, n_out)."""
        return self._arrays("weight", "coefs_")

    @property
    def intercepts_(self) -> list[np.ndarray]:
        """The biases of each fully connected layer, (n_out,); zeros where a layer has none."""
        return self._arrays("bias", "intercepts_")

    def _arrays(self, key: str, name: str) -> list[np.ndarray]:
        if not hasattr(self, "model_"):
            raise AttributeError(f"{self._name()} has no {name}: call fit first")
        found = self._dense()
        if not found:
            raise AttributeError(f"{self._name()} has no {name}: its net is no Sequential with Linear layers")
        to_numpy = self.model_.backend.to_numpy
        weights = [to_numpy(each["weight"]) for each in found]
        if key == "weight":
            return weights
        both = zip(found, weights, strict=True)
        return [to_numpy(each[key]) if key in each else np.zeros(w.shape[1], w.dtype) for each, w in both]

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "model_")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.array_api_support = True
        return tags

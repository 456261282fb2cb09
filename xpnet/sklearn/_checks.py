"""Checks of the estimators' parameters."""

import numbers
from typing import Any, NoReturn

from xpnet import backend as backends
from xpnet import nn, optim
from xpnet._training.arguments import callbacks_of
from xpnet._util.checks import is_number, require_flag
from xpnet._util.text import did_you_mean
from xpnet.callbacks import EarlyStopping
from xpnet.errors import ConfigError
from xpnet.train.registry import ACTIVATIONS, OPTIMIZERS

NAMES = {"logistic": "sigmoid"}  # scikit-learn's names of activations


def check_parameters(estimator: Any) -> None:
    """Raise ConfigError for a parameter that has no meaning."""
    whole = {"max_iter": estimator.max_iter, "n_iter_no_change": estimator.n_iter_no_change}
    if estimator.batch_size != "auto":
        whole["batch_size"] = estimator.batch_size
    for name, value in whole.items():
        if not isinstance(value, numbers.Integral) or isinstance(value, bool) or value < 1:
            refuse(estimator, name, "an integer from 1", value)
    for name, low in (("learning_rate_init", None), ("alpha", 0), ("tol", 0), ("dropout", 0)):
        value = getattr(estimator, name)
        if (
            not is_number(value)
            or (value <= 0 if low is None else value < low)
            or (name == "dropout" and value >= 1)
        ):
            between = "from 0 to below 1" if name == "dropout" else "above 0" if low is None else "from 0"
            refuse(estimator, name, f"a number {between}", value)
    fraction, net, sizes = estimator.validation_fraction, estimator.net, estimator.hidden_layer_sizes
    if not (is_number(fraction) and 0 < fraction < 1):
        refuse(estimator, "validation_fraction", "a number between 0 and 1", fraction)
    for name in ("shuffle", "early_stopping", "warm_start", "batch_norm"):
        require_flag(type(estimator).__name__, name, getattr(estimator, name))
    if not (net is None or isinstance(net, nn.Layer) or callable(net)) or hasattr(net, "state_dict"):
        refuse(estimator, "net", "a layer, or a function of (n_in, n_out) that makes one", net)
    for each in callbacks_of(estimator.callbacks):
        if isinstance(each, EarlyStopping) and each.monitor.startswith("validation"):
            raise ConfigError(
                f"{type(estimator).__name__}: expected no EarlyStopping on {each.monitor}, for which there "
                f"are no data, got one; write early_stopping=True, n_iter_no_change={each.patience}"
            )
    _check_choice(estimator, "activation", [*NAMES, *ACTIVATIONS])
    if not isinstance(estimator.optimizer, optim.Optimizer):
        _check_choice(estimator, "optimizer", list(OPTIMIZERS), ", or an object of xpnet.optim")
    _check_choice(estimator, "backend", ["auto", *backends.BACKENDS])
    _check_choice(estimator, "dtype", ["auto", *backends.DTYPES])
    for size in sizes if hasattr(sizes, "__iter__") else [sizes]:
        if not isinstance(size, numbers.Integral) or isinstance(size, bool) or size < 1:
            refuse(estimator, "hidden_layer_sizes", "numbers of units from 1", sizes)


def _check_choice(estimator: Any, name: str, choices: list[str], others: str = "") -> None:
    value = getattr(estimator, name)
    if not isinstance(value, str) or value not in choices:
        hint = did_you_mean(value, choices) if isinstance(value, str) else ""
        refuse(estimator, name, f"one of {', '.join(choices)}{others}", value, hint)


def refuse(estimator: Any, name: str, expected: str, got: Any, hint: str = "") -> NoReturn:
    """Raise ConfigError."""
    raise ConfigError(f"{type(estimator).__name__}: expected {name} to be {expected}, got {got!r}{hint}")

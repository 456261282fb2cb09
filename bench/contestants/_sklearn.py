"""scikit-learn's multi-layer perceptron."""

from typing import Any

import numpy as np

from bench.contestants._contestant import Contestant, Unavailable
from bench.workloads import SEED, Part, Workload
from xpnet.optim import SGD, Adam


class ScikitLearn(Contestant):
    """`MLPClassifier.partial_fit`, one epoch for each call; it draws its own batches.

    It has dense layers only, with one activation for all of them.
    """

    library = "sklearn"
    draws_own_batches = True

    def prepare(self, workload: Workload, parts: list[Part]) -> None:
        from sklearn.neural_network import MLPClassifier

        names = {"Sigmoid": "logistic", "Tanh": "tanh", "ReLU": "relu"}
        kinds = {type(layer).__name__ for layer in workload.layers} - {"Linear"}
        if not kinds <= names.keys():
            raise Unavailable(f"scikit-learn has no {', '.join(sorted(kinds - names.keys()))}")
        activation = names[kinds.pop()] if kinds else "identity"
        params = [layer_params for layer_params in workload.initial_params() if layer_params]
        self.parts, self.penalty = parts, workload.penalty
        self.net = MLPClassifier(
            [len(layer_params["bias"]) for layer_params in params[:-1]],
            activation=activation,
            alpha=workload.l2 * workload.batch_size,
            batch_size=workload.batch_size,
            random_state=SEED,
            **solver(workload.optimizer),
        )
        x, y = parts[0]
        classes = np.arange(workload.n_classes)
        self.net.partial_fit(x[: workload.batch_size], y[: workload.batch_size], classes=classes)
        self.net.coefs_ = [layer_params["weight"] for layer_params in params]
        self.net.intercepts_ = [layer_params["bias"] for layer_params in params]
        del self.net._optimizer  # it holds the state of that step; the next call makes a new one

    def epoch(self, number: int) -> float:
        self.net.partial_fit(*self.parts[number % len(self.parts)])
        return float(self.net.loss_) - self.penalty(self.net.coefs_)


def solver(rule: SGD | Adam) -> dict[str, Any]:
    """An optimizer of xpnet as arguments of `MLPClassifier`."""
    rate = {"learning_rate_init": rule.learning_rate}
    if isinstance(rule, SGD):
        return {"solver": "sgd", "momentum": rule.momentum, "nesterovs_momentum": rule.nesterov} | rate
    return {"solver": "adam", "beta_1": rule.beta1, "beta_2": rule.beta2, "epsilon": rule.epsilon} | rate

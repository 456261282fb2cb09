"""The imperative shell: a network with everything that changes while it learns."""

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from xpnet import backend as backends
from xpnet import files, optim, tree
from xpnet.data.batches import batch_indices, slices
from xpnet.errors import CheckpointError, ConfigError, Error, ShapeError
from xpnet.losses import Loss
from xpnet.nn import Layer, Sequential
from xpnet.nn._layer import Shape, show_shape
from xpnet.optim import Optimizer
from xpnet.random import generator
from xpnet.step import Objective, State, Totals, evaluation_step, prediction_step, training_step
from xpnet.tree import Array, Tree


class Evaluation(NamedTuple):
    """What `Model.evaluate` finds; accuracy and errors are None where the targets name no class."""

    loss: float
    accuracy: float | None
    errors: int | None


class EpochMetrics(NamedTuple):
    """What `Model.fit` tells of an epoch.

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


class Callback:
    """Is told of each step and each epoch of `Model.fit`, and may call `model.stop()`."""

    def on_step(self, model: "Model", step: int, n_steps: int) -> None:
        """After step `step` (from 1) of the epoch's `n_steps`. Should seldom wait for the device."""

    def on_epoch(self, model: "Model", metrics: EpochMetrics) -> None:
        """After each whole epoch and its validation."""


class Model:
    """A network, its loss and its optimizer, with the parameters and the state of training.

    All at once, `model.fit(x, y, epochs=10)`; or by hand, as courses teach it:

        model.forward(x)
        model.zero_grads()
        model.backward(y)
        model.step()

    Inputs x are (n, ...), targets integer labels (n,) or whatever else the loss takes: NumPy arrays,
    lists, or arrays of the backend's library.

    Arguments:
        net: an `xpnet.nn` layer, usually `Sequential`.
        loss: from `xpnet.losses`.
        optimizer: from `xpnet.optim`.
        backend: the array library: "numpy", "cupy", "torch", "jax" or "array-api-strict".
        seed: of the initial weights and the order of the examples; it means the same on every backend.
        dtype: "float32" or "float64".
        device: where the library has several, say "cuda:1".
        l2: λ of a penalty λ/2·Σw² over all weights (never biases), a part of every loss reported.

    Raises BackendError where the backend cannot be used, ConfigError for a number out of range,
    and its methods ShapeError where x or the target do not fit the network.
    """

    grads: Tree

    def __init__(
        self,
        net: Layer,
        loss: Loss,
        optimizer: Optimizer,
        backend: str = "numpy",
        seed: int = 0,
        dtype: str = "float32",
        *,
        device: Any = None,
        l2: float = 0.0,
    ) -> None:
        if not 0 <= l2 < math.inf:
            raise ConfigError(f"Model: expected l2 to be a finite number and at least 0, got {l2!r}")
        self.net = net
        self.loss_function = loss
        self.optimizer = optimizer
        self.objective = Objective(net, loss, l2)
        self.backend = backends.get(backend, device, dtype)
        self.seed = seed
        self.epoch = 0
        self._stopping = False
        self._input_shape: Shape | None = None
        self._last_forward: tuple[Array, Any] | None = None
        self._training_step = self.backend.compile(training_step(self.objective, optimizer))
        self._evaluation_step = self.backend.compile(evaluation_step(self.objective))
        self._prediction_step = self.backend.compile(prediction_step(net))
        self.params = net.init(generator(seed, "weights"))

    @property
    def params(self) -> Tree:
        """The parameters, a tree of arrays on the device. Training may overwrite these arrays.

        Set to a tree of NumPy or other arrays: the model takes copies, and starts the optimizer afresh.
        """
        return self._state.params

    @params.setter
    def params(self, params: Tree) -> None:
        params = tree.map(self.backend.copy, params)
        self._state = State(params, self.optimizer.init(params), self._zero_totals())
        self.zero_grads()

    def parameter_count(self) -> int:
        """The number of parameters."""
        return sum(math.prod(array.shape) for array in tree.leaves(self.params))

    # By hand, a step at a time.

    def forward(self, x: Array) -> Array:
        """The network's output for x, an array of the backend; remembered for what follows."""
        x = self._input(x)
        prediction, residuals = self.net.forward(self.params, x)
        self._last_forward = prediction, residuals
        return prediction

    def loss(self, target: Array) -> float:
        """The loss of the last `forward`, with the L2 penalty."""
        prediction, target, _ = self._last(target)
        value, _ = self.loss_function.forward(prediction, target)
        return float(self.objective.penalized(self.params, value))

    def errors(self, target: Array) -> int:
        """The number of wrong predictions in the last `forward`."""
        prediction, target, _ = self._last(target)
        errors = self.loss_function.errors(prediction, target)
        if errors is None:
            raise ShapeError(f"{self.loss_function}: expected integer labels to count, got real targets")
        return int(errors)

    def backward(self, target: Array) -> None:
        """Add the gradients of the last `forward`'s loss, with the L2 penalty, to `grads`."""
        prediction, target, residuals = self._last(target)
        _, loss_residuals = self.loss_function.forward(prediction, target)
        grads = self.objective.backward(self.params, residuals, loss_residuals)
        self.grads = tree.map(lambda total, g: total + g, self.grads, grads)

    def zero_grads(self) -> None:
        """Set `grads`, a tree like `params`, to zero."""
        self.grads = optim.zeros_like(self.params)

    def step(self) -> None:
        """Let the optimizer update the parameters with `grads`."""
        params, optimizer = self.optimizer.update(self.params, self.grads, self._state.optimizer)
        self._state = self._state._replace(params=params, optimizer=optimizer)

    # All at once.

    def fit(
        self,
        x: Array,
        y: Array,
        *,
        epochs: int = 10,
        batch_size: int = 64,
        validation: tuple[Array, Array] | None = None,
        shuffle: bool = True,
        callbacks: Sequence[Callback] = (),
    ) -> list[EpochMetrics]:
        """Train on all examples, `epochs` times, and tell of each epoch.

        Another call goes on where this one ended. The data set is moved to the device once, and
        nothing in an epoch waits for the device unless a callback does.

        Arguments:
            x, y: inputs (n, ...) and targets.
            epochs: how many times to go through all examples.
            batch_size: examples in a step; the last batch of an epoch may be smaller.
            validation: `(x, y)` to evaluate after each epoch.
            shuffle: draw a new order for each epoch, from the seed and the epoch's number.
            callbacks: are told of each step and each epoch.
        """
        x, y = self.prepare(x, y)
        validation = None if validation is None else self.prepare(*validation)
        self._stopping = False
        history: list[EpochMetrics] = []
        for _ in range(epochs):
            seconds = self._train_epoch(x, y, batch_size, shuffle, callbacks)
            if seconds is None:
                break
            self.epoch += 1
            history.append(self._epoch_metrics(x.shape[0], seconds, validation))
            for callback in callbacks:
                callback.on_epoch(self, history[-1])
            if self._stopping:
                break
        return history

    def stop(self) -> None:
        """End `fit` after the current step. An epoch that this breaks off is not in the history."""
        self._stopping = True

    def running_loss(self, examples: int) -> float:
        """The mean training loss over the first `examples` of this epoch; waits for the device."""
        return float(self._state.totals.loss) / examples

    def _train_epoch(
        self, x: Array, y: Array, batch_size: int, shuffle: bool, callbacks: Sequence[Callback]
    ) -> float | None:
        """One epoch of steps: how many seconds it took, or None if it was broken off."""
        self.backend.synchronize()
        start = time.perf_counter()
        self._state = self._state._replace(totals=self._zero_totals())
        indices = batch_indices(x, batch_size, seed=self.seed, epoch=self.epoch, shuffle=shuffle)
        for step, index in enumerate(indices, start=1):
            self._state, _ = self._training_step(self._state, (x, y, index))
            for callback in callbacks:
                callback.on_step(self, step, len(indices))
            if self._stopping and step < len(indices):
                return None
        self.backend.synchronize()
        return time.perf_counter() - start

    def _epoch_metrics(self, n: int, seconds: float, validation: tuple[Array, Array] | None) -> EpochMetrics:
        train = self._evaluation(self._state.totals, n, penalty=0.0)
        held_out = self.evaluate(*validation) if validation is not None else None
        return EpochMetrics(
            epoch=self.epoch,
            train_loss=train.loss,
            train_accuracy=train.accuracy,
            validation_loss=held_out.loss if held_out else None,
            validation_accuracy=held_out.accuracy if held_out else None,
            learning_rate=float(self.optimizer.learning_rate),
            seconds=seconds,
            images_per_second=n / seconds,
        )

    def evaluate(self, x: Array, y: Array, batch_size: int = 1000) -> Evaluation:
        """Loss, with the L2 penalty, and accuracy on these examples; `batch_size` bounds the memory."""
        x, y = self.prepare(x, y)
        totals = self._zero_totals()
        for part in slices(x.shape[0], batch_size):
            totals, _ = self._evaluation_step(totals, (self.params, x[part, ...], y[part, ...]))
        return self._evaluation(totals, x.shape[0], penalty=float(self.objective.penalized(self.params, 0.0)))

    @staticmethod
    def _evaluation(totals: Totals, n: int, penalty: float) -> Evaluation:
        errors = None if totals.errors is None else int(totals.errors)
        accuracy = None if errors is None else 1 - errors / n
        return Evaluation(float(totals.loss) / n + penalty, accuracy, errors)

    def predict(self, x: Array, batch_size: int = 1000) -> np.ndarray:
        """On the host: each example's class (n,), or its outputs (n, d) where the loss knows no classes."""
        return self._predict(x, batch_size, self.loss_function.predict)

    def predict_proba(self, x: Array, batch_size: int = 1000) -> np.ndarray:
        """On the host: the probability of each class (n, d). ConfigError where the loss gives none."""
        probabilities = getattr(self.loss_function, "probabilities", None)
        if probabilities is None:
            raise ConfigError(f"predict_proba: expected a loss with probabilities, got {self.loss_function}")
        return self._predict(x, batch_size, probabilities)

    def _predict(self, x: Array, batch_size: int, interpret: Callable[[Array], Array]) -> np.ndarray:
        x = self._input(x)
        parts = []
        for part in slices(x.shape[0], batch_size):
            _, prediction = self._prediction_step((), (self.params, x[part, ...]))
            parts.append(self.backend.to_numpy(interpret(prediction)))
        return np.concatenate(parts)

    # Files and tables.

    def save(self, path: str | Path) -> None:
        """Write the parameters to a `.npz` file: one array each, with names like `0.weight`."""
        files.save_arrays(path, {name: self.backend.to_numpy(p) for name, p in tree.items(self.params)})

    def load(self, path: str | Path) -> None:
        """Read parameters that `save` wrote, and start the optimizer afresh.

        Raises CheckpointError where the file cannot be read or belongs to another network, and
        leaves the model as it was.
        """
        arrays = files.load_arrays(path)
        expected = {name: tuple(p.shape) for name, p in tree.items(self.params)}
        found = {name: array.shape for name, array in arrays.items()}
        for name in expected | found:
            if expected.get(name) != found.get(name):
                raise CheckpointError(
                    f"{path}: expected {name} of shape {expected.get(name)}, got {found.get(name)}"
                )
        self.params = tree.replace(self.params, arrays)

    def summary(self, input_shape: Shape | None = None) -> str:
        """A table of the layers, the shapes of their outputs and their numbers of parameters.

        Arguments:
            input_shape: that of x without the examples, `(28, 28, 1)`; if not given, that of the
                last x seen, and without one the shapes are left out.
        """
        shape = self._input_shape if input_shape is None else ("n", *input_shape)
        if shape is not None:
            self.net.output_shape(shape)
        net = self.net
        layers, params = (
            (net.layers, self.params) if isinstance(net, Sequential) else ((net,), (self.params,))
        )
        rows = [("layer", "output shape", "parameters")]
        for layer, layer_params in zip(layers, params, strict=True):
            shape = None if shape is None else layer.output_shape(shape)
            count = sum(math.prod(array.shape) for array in tree.leaves(layer_params))
            rows.append((str(layer), "" if shape is None else show_shape(shape), f"{count:,}"))
        rows.append(("total", "", f"{self.parameter_count():,}"))
        first, second, third = (max(len(row[column]) for row in rows) for column in range(3))
        lines = [f"{a:<{first}}  {b:<{second}}  {c:>{third}}" for a, b, c in rows]
        rule = "-" * len(lines[0])
        return "\n".join([lines[0], rule, *lines[1:-1], rule, lines[-1]])

    # The edge: what comes in is checked here, so that the layers need not.

    def _input(self, x: Array) -> Array:
        x = self.backend.asarray(x, real=True)
        shape = ("n", *x.shape[1:])
        if shape != self._input_shape:
            self.net.output_shape(tuple(x.shape))
            self._input_shape = shape
        return x

    def _target(self, prediction_shape: Shape, target: Array) -> Array:
        target = self.backend.asarray(target, real=len(np.shape(target)) == len(prediction_shape))
        self.loss_function.check(prediction_shape, target)
        return target

    def prepare(self, x: Array, y: Array) -> tuple[Array, Array]:
        """Inputs and targets as the network takes them: on the device, in its dtype, of fitting shapes."""
        x = self._input(x)
        if x.shape[0] == 0:
            raise ShapeError("expected at least one example, got x of shape " + show_shape(tuple(x.shape)))
        return x, self._target(self.net.output_shape(tuple(x.shape)), y)

    def _last(self, target: Array) -> tuple[Array, Array, Any]:
        """Prediction, checked target and residuals of the last `forward`."""
        if self._last_forward is None:
            raise Error("Model: expected a call of forward(x) first, got none")
        prediction, residuals = self._last_forward
        return prediction, self._target(tuple(prediction.shape), target), residuals

    def _zero_totals(self) -> Totals:
        zero = self.backend.from_host(np.zeros((), self.backend.dtype_name))
        return Totals(zero, self.backend.from_host(np.zeros((), np.int64)))

"""The imperative shell: a network with everything that changes while it learns."""

import functools
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from xpnet import backend as backends
from xpnet import optim, random, tree
from xpnet._training import checkpoint, divergence, evaluation, loop, memory, summary
from xpnet._training.inputs import Edge
from xpnet._training.step import (
    Augment,
    Objective,
    State,
    Totals,
    evaluation_step,
    needs,
    noise_stream,
    prediction_step,
    training_step,
)
from xpnet._training.summary import StepMemory
from xpnet._util import files
from xpnet._util.checks import require_integer
from xpnet.callbacks import Callback, Companion
from xpnet.errors import ConfigError, Error, ShapeError
from xpnet.losses import Loss
from xpnet.metrics import EpochMetrics, Evaluation
from xpnet.nn import Layer
from xpnet.nn._layer import Shape
from xpnet.optim import Optimizer
from xpnet.schedules import Schedule
from xpnet.tree import Array, Tree


class Model:
    """A network, its loss and its optimizer, with the parameters and the state of training.

    All at once, `model.fit(x, y, epochs=10)`; or by hand, as courses teach it:

        model.forward(x)
        model.zero_grads()
        model.backward(y)
        model.step()

    `forward` does what training does (dropout drops, batch normalisation uses the batch) until
    `model.eval()`, and again after `model.train()`. All that judges the network, `evaluate`,
    `predict` and the validation in `fit`, leaves that out of itself.

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
        augment: applied by `fit` to each batch of inputs, say `data.augment.RandomCrop(4)`.
        micro_batch: in `fit`, how many examples of a batch go through the network at once; their
            gradients are added up. It bounds the memory. None: all, or on NumPy what suits the cache.

    Attributes:
        epoch, epoch_step: how many epochs `fit` has done, and how many steps of the next one.
        history: what `fit` has told of each of them.

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
        augment: Augment | None = None,
        micro_batch: int | None = None,
    ) -> None:
        self.net = net
        self.loss_function = loss
        self.optimizer = optimizer
        self.micro_batch = micro_batch
        self.objective = Objective(net, loss, l2)
        self.backend = backends.get(backend, device, dtype)
        self.seed = seed
        self.epoch = 0
        self.epoch_step = 0
        self.history: list[EpochMetrics] = []
        self.training = True
        self._stopping = False
        self._epoch_seconds = 0.0
        self._batches: loop.Batches | None = None
        self._companions: dict[str, Companion] = {}
        self._companion_states: dict[str, Any] = {}
        self._edge = Edge(net, loss, self.backend)
        self._last_forward: tuple[Layer, Tree, Array, Any] | None = None
        self._make_step = functools.partial(
            training_step,
            optimizer=optimizer,
            backend=self.backend,
            seed=seed,
            augment=augment,
            micro_batch=micro_batch,
        )
        self._training_loop = self.backend.compile_loop(self._make_step(self.objective))
        self._evaluation_step = self.backend.compile(evaluation_step(self.objective, self.backend))
        self._prediction_step = self.backend.compile(prediction_step(net, self.backend))
        zero = self.backend.from_host(np.zeros(1, np.int32))
        with memory.told_of(self.backend, lambda: "the parameters of the network"):
            statistics = tree.map(self.backend.copy, net.init_statistics())
            self._state = State({}, statistics, {}, Totals(0.0, 0), step=zero, finite_steps=zero[0, ...])
            self.params = net.init(random.generator(seed, "weights"))

    @property
    def params(self) -> Tree:
        """The parameters, a tree of arrays on the device, which training may overwrite.

        Set to a tree of any library's arrays: the model takes copies and starts the optimizer, and an
        epoch that was broken off, afresh.
        """
        return self._state.params

    @params.setter
    def params(self, params: Tree) -> None:
        params = tree.map(self.backend.copy, params)
        self._state = self._state._replace(params=params, optimizer=self.optimizer.init(params))
        self.epoch_step = 0
        self.zero_grads()

    @property
    def statistics(self) -> Tree:
        """What layers have measured in training, as batch normalisation does: a tree like `params`."""
        return self._state.statistics

    @statistics.setter
    def statistics(self, statistics: Tree) -> None:
        self._state = self._state._replace(statistics=tree.map(self.backend.copy, statistics))

    def _variables(self) -> Tree:
        """Parameters and statistics as the network takes them outside training."""
        params = self.optimizer.evaluation_params(self.params, self._state.optimizer)
        return tree.merge(params, self.statistics)

    def parameter_count(self) -> int:
        """The number of parameters."""
        return summary.count(self.params)

    # By hand, a step at a time.

    def train(self, training: bool = True) -> None:
        """Let `forward` do what training does."""
        self.training = training

    def eval(self) -> None:
        """Let `forward` do what `evaluate` and `predict` do."""
        self.train(False)

    def forward(self, x: Array) -> Array:
        """The network's output for x, an array of the backend; remembered for what follows."""
        x = self._edge.inputs(x)
        if self.training:
            key = random.Key(self._state.step, noise_stream(self.seed)).child(0)
            net, params = self.net.training_mode(key), self.params
        else:
            net, params = self.net, self._variables()
        prediction, residuals = net.forward(params, x)
        if self.training:
            self._state = self._state._replace(statistics=net.new_statistics(self.statistics, residuals))
        self._last_forward = net, params, prediction, residuals
        return prediction

    def loss(self, target: Array) -> float:
        """The loss of the last `forward`, with the L2 penalty."""
        _, params, prediction, _ = self._last()
        value, _ = self.loss_function.forward(prediction, self._edge.target(prediction.shape, target))
        return float(self.objective.penalized(params, value))

    def errors(self, target: Array) -> int:
        """The number of wrong predictions in the last `forward`."""
        _, _, prediction, _ = self._last()
        errors = self.loss_function.errors(prediction, self._edge.target(prediction.shape, target))
        if errors is None:
            raise ShapeError(f"{self.loss_function}: expected integer labels to count, got real targets")
        return int(errors)

    def backward(self, target: Array) -> None:
        """Add the gradients of the last `forward`'s loss, with the L2 penalty, to `grads`."""
        net, params, prediction, residuals = self._last()
        _, loss_residuals = self.loss_function.forward(
            prediction, self._edge.target(prediction.shape, target)
        )
        grads = net.parameter_gradients(params, residuals, self.loss_function.backward(loss_residuals))
        grads = self.objective.penalized_gradients(params, grads)
        self.grads = tree.map(lambda total, g: total + g, self.grads, grads)

    def zero_grads(self) -> None:
        """Set `grads`, a tree like `params`, to zero."""
        self.grads = optim.zeros_like(self.params)

    def step(self) -> None:
        """Let the optimizer update the parameters with `grads`."""
        params = tree.map(self.backend.copy, self.params)  # the last `forward` keeps those that it had
        params, optimizer = self.optimizer.update(params, self.grads, self._state.optimizer)
        self._state = self._state._replace(params=params, optimizer=optimizer, step=self._state.step + 1)

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
        schedule: Schedule | None = None,
        callbacks: Sequence[Callback] = (),
        data_on_device: bool | None = None,
    ) -> list[EpochMetrics]:
        """Train on all examples, `epochs` times, and tell of each epoch.

        Another call goes on where this one ended, and so does one after `load_checkpoint`: in the
        middle of an epoch too, which is then the first of `epochs`. The data set is moved to the device
        once, unless it is too large, and nothing in an epoch waits for the device unless a callback does.

        Arguments:
            x, y: inputs (n, ...) and targets.
            epochs: how many times to go through all examples.
            batch_size: examples in a step; the last batch of an epoch may be smaller.
            validation: `(x, y)` to evaluate after each epoch.
            shuffle: draw a new order for each epoch, from the seed and the epoch's number.
            schedule: from `xpnet.schedules`: the factor on the optimizer's learning rate at each step.
            callbacks: are told of each step and each epoch.
            data_on_device: False leaves x and y on the host, in memory or memory-mapped files, and brings
                batches to the device in chunks, of which a thread reads the next one meanwhile; all results
                are the same. None: False for what does not fit into the free memory of a GPU.

        Returns what there is to tell of each of these epochs; `history` has all since the model was made.
        Raises ConfigError where an epoch was broken off whose batches were other ones, and DivergedError
        where the loss or a parameter became infinite or not a number, which is looked at after each epoch:
        it tells the step and the layer where that began. The model is then as it was before that epoch.
        """
        require_integer("fit", "epochs", epochs, least=0)
        require_integer("fit", "batch_size", batch_size)
        given = (x, y, *(validation or ()))
        with memory.told_of(self.backend, lambda: memory.needed_by_fit(self, given, batch_size)):
            if data_on_device is None:
                data_on_device = memory.data_fits(self, given, batch_size)
            x, y = self._edge.examples(x, y, data_on_device)
            return loop.run(
                self,
                x,
                y,
                epochs=epochs,
                batch_size=batch_size,
                validation=None if validation is None else self._edge.examples(*validation, data_on_device),
                shuffle=shuffle,
                schedule=schedule,
                callbacks=callbacks,
                data_on_device=data_on_device,
            )

    def stop(self) -> None:
        """End `fit` after the current step. An epoch that this breaks off is not in the history."""
        self._stopping = True

    def has_diverged(self) -> bool:
        """Whether a loss of this epoch or a parameter is not finite; waits for the device."""
        return divergence.has_diverged(self._state)

    def running_loss(self, examples: int) -> float:
        """The mean training loss over the first `examples` of this epoch; waits for the device.

        Where it is not finite, `fit` goes no further than the current step.
        """
        loss = float(self._state.totals.loss) / examples
        if not math.isfinite(loss):
            self.stop()
        return loss

    def evaluate(
        self, x: Array, y: Array, batch_size: int = 250, data_on_device: bool | None = None
    ) -> Evaluation:
        """Loss, with the L2 penalty, and accuracy on these examples; `batch_size` bounds the memory."""
        require_integer("evaluate", "batch_size", batch_size)
        if data_on_device is None:
            data_on_device = memory.data_fits(self, (x, y), batch_size)
        examples = self._edge.examples(x, y, data_on_device)
        return evaluation.evaluate(self, self._variables(), *examples, batch_size)

    def predict(self, x: Array, batch_size: int = 250) -> np.ndarray:
        """On the host: each example's class (n,), or its outputs (n, d) where the loss has no classes."""
        return self._predict(x, batch_size, self.loss_function.predict)

    def predict_proba(self, x: Array, batch_size: int = 250) -> np.ndarray:
        """On the host: the probability of each class (n, d). ConfigError where the loss gives none."""
        probabilities = getattr(self.loss_function, "probabilities", None)
        if probabilities is None:
            raise ConfigError(f"predict_proba: expected a loss with probabilities, got {self.loss_function}")
        return self._predict(x, batch_size, probabilities)

    def _predict(self, x: Array, batch_size: int, interpret: Callable[[Array], Array]) -> np.ndarray:
        require_integer("predict", "batch_size", batch_size)
        return evaluation.predict(self, self._variables(), self._edge.inputs(x), batch_size, interpret)

    # Copies, files and tables.

    def snapshot(self) -> Tree:
        """A copy, on the device, of the parameters and statistics that `evaluate` and `predict` use."""
        return tree.map(self.backend.copy, self._variables())

    def restore(self, snapshot: Tree) -> None:
        """Go back to what `snapshot` gave, and start the optimizer afresh."""
        arrays = dict(tree.items(snapshot))
        self.params = tree.replace(self.params, arrays)
        self.statistics = tree.replace(self.statistics, arrays)

    def save(self, path: str | Path) -> None:
        """Write what `evaluate` and `predict` use to a `.npz` file: arrays with names like `0.weight`."""
        arrays = {name: self.backend.to_numpy(array) for name, array in tree.items(self._variables())}
        files.save_arrays(path, arrays)

    def load(self, path: str | Path) -> None:
        """Read parameters that `save` wrote, and start the optimizer afresh.

        Raises CheckpointError where the file cannot be read or belongs to another network, and
        leaves the model as it was.
        """
        shapes = {name: tuple(array.shape) for name, array in tree.items(self._variables())}
        self.restore(files.load_arrays(path, shapes))

    def save_checkpoint(self, path: str | Path) -> None:
        """Write all that `fit` goes on from to a file; in a callback it may be called after any step.

        Beside parameters, statistics and the optimizer's state these are the position in the epoch,
        the history, and the state of the schedule and the callbacks of the last `fit`. The network, the data
        and the other arguments of this model and of `fit` are not in it: give them again. The format is
        described in `xpnet/_training/checkpoint.py`. Raises CheckpointError where it cannot be written.
        """
        checkpoint.write(path, checkpoint.capture(self))

    def load_checkpoint(self, path: str | Path) -> None:
        """Go back to what `save_checkpoint` wrote: `fit` then does bit for bit what it would have done.

        That holds for the same data and options on the same backend; on another one, up to rounding.
        Schedule and callbacks get their state when `fit` starts.

        Raises CheckpointError where the file cannot be read, or is of another network, optimizer,
        dtype or seed, and leaves the model as it was.
        """
        checkpoint.restore(self, checkpoint.read(path), path)

    def summary(self, input_shape: Shape | None = None, batch_size: int = 64) -> str:
        """A table of the layers: outputs, parameters, operations, and the memory of a training step.

        Operations are those in matrix products; bytes are those that the forward pass keeps for the
        backward pass, where two layers keep the same array at the first of them.

        Arguments:
            input_shape: that of x without the examples, `(28, 28, 1)`; if not given, that of the
                last x seen, and without one only the parameters are told.
            batch_size: examples in a step.
        """
        seen = self._edge.input_shape
        shape = seen[1:] if input_shape is None and seen else input_shape
        if shape is None:
            return summary.text(self.net, self.params)
        rows, memory = needs(self.net, self._state, self.backend, (batch_size, *shape), self.micro_batch)
        step = f"A step of {batch_size} examples in {self.backend.dtype_name} takes {memory}"
        return summary.text(self.net, self.params, rows, step)

    def step_memory(self, input_shape: Shape, batch_size: int = 64) -> StepMemory:
        """The bytes that a training step of so many examples takes, found without running it."""
        return needs(self.net, self._state, self.backend, (batch_size, *input_shape), self.micro_batch)[1]

    def prepare(self, x: Array, y: Array) -> tuple[Array, Array]:
        """Inputs and targets as the network takes them: on the device, in its dtype, of fitting shapes."""
        return self._edge.examples(x, y)

    def _last(self) -> tuple[Layer, Tree, Array, Any]:
        """The network of the last `forward`, its parameters, prediction and residuals."""
        if self._last_forward is None:
            raise Error("Model: expected a call of forward(x) first, got none")
        return self._last_forward

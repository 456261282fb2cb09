"""The model: a network that learns, all at once or by hand, with its files and tables."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from xpnet import tree
from xpnet._training import checkpoint, divergence, evaluation, loop, memory, summary, trees
from xpnet._training.learner import Learner
from xpnet._training.step import needs
from xpnet._training.summary import StepMemory
from xpnet._util import files
from xpnet._util.checks import require_integer
from xpnet.callbacks import Callback, Hooks
from xpnet.errors import ConfigError
from xpnet.metrics import EpochMetrics, Evaluation
from xpnet.nn._layer import Shape
from xpnet.schedules import Schedule
from xpnet.tree import Array, ArrayLike, Tree


class Model(Learner):
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
        backend: the array library: "numpy", "cupy", "torch", "jax", "dask" or "array-api-strict".
        seed: of the initial weights and the order of the examples; it means the same on every backend.
        dtype: "float32" or "float64".
        device: where the library has several, say "cuda:1".
        l2: λ of a penalty λ/2·Σw² over all weights (never biases), a part of every loss reported.
        augment: applied by `fit` to each batch of inputs, say `data.augment.RandomCrop(4)`.
        micro_batch: in `fit`, how many examples of a batch go through the network at once; their
            gradients are added up. It bounds the memory. None: all, or on NumPy what suits the cache.

    Attributes:
        state: all that a training step changes; read it, do not write to it.
        epoch: the number of epochs that `fit` has done.
        epoch_step: the number of steps done of the next epoch; set it to 0 to start that epoch afresh.
        history: the metrics of each epoch.
        learning_rate: that of the last step of `fit`.

    `pickle` and `copy.deepcopy` keep the arguments and what a checkpoint holds: a copy goes on bit for bit.
    They do not keep `grads` and the last `forward`.

    Raises BackendError where the backend cannot be used, ConfigError for a number out of range or a layer
    whose `init` gives no tree of arrays; its methods ShapeError where x or the target do not fit the network.
    """

    # All at once.

    def fit(
        self,
        x: ArrayLike,
        y: ArrayLike,
        *,
        epochs: int = 10,
        batch_size: int = 64,
        validation: tuple[ArrayLike, ArrayLike] | None = None,
        shuffle: bool = True,
        schedule: Schedule | None = None,
        callbacks: Sequence[Callback] = (),
        data_on_device: bool | None = None,
    ) -> list[EpochMetrics]:
        """Train on all examples, `epochs` times.

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
            callbacks: their hooks are called after each step and each epoch.
            data_on_device: False leaves x and y on the host, in memory or memory-mapped files, and brings
                batches to the device in chunks, of which a thread reads the next one meanwhile; all results
                are the same. None: False for what does not fit into the free memory of a GPU.

        Returns the metrics of these epochs; `history` has those of all epochs. Raises ConfigError where an
        epoch was broken off whose batches were other ones, and DivergedError where the loss or a parameter
        became infinite or not a number, found after each epoch: it names the step and the layer where that
        began. After that, and where an exception breaks off a step, the model is as before the epoch.
        """
        require_integer("fit", "epochs", epochs, least=0)
        require_integer("fit", "batch_size", batch_size)
        if schedule is not None and not isinstance(schedule, Schedule):
            raise ConfigError(f"fit: expected schedule to be an xpnet Schedule or None, got {schedule!r}")
        for each in callbacks:
            if not isinstance(each, Callback):
                raise ConfigError(f"fit: expected callbacks to be xpnet Callbacks, got {each!r}")
        if validation is not None and len(validation) != 2:
            raise ConfigError(f"fit: expected validation to be a pair (x, y), got {len(validation)} items")
        need = memory.Need(self.backend, (x, y, *(validation or ())), batch_size, self.step_memory)
        with memory.explain_out_of_memory(self.backend, need):
            on_device = need.fits() if data_on_device is None else data_on_device
            data = loop.Data(*self._inputs.place(x, y, on_device), on_device)
            held_out = None if validation is None else self._inputs.place(*validation, on_device)
            self._grads, self._fitting = None, True
            try:
                return loop.run(
                    self._program,
                    self._training,
                    data,
                    epochs=epochs,
                    batch_size=batch_size,
                    shuffle=shuffle,
                    validation=held_out,
                    schedule=schedule,
                    hooks=Hooks(self, callbacks),
                )
            finally:
                self._fitting = False

    def stop(self) -> None:
        """End `fit` after the current step. An epoch that this breaks off is not in the history."""
        self._training.progress.stopping = True

    def has_diverged(self) -> bool:
        """Whether a loss of this epoch or a parameter is not finite; waits for the device."""
        return divergence.has_diverged(self.state)

    def running_loss(self, examples: int) -> float:
        """The mean training loss over the first `examples` of this epoch; waits for the device.

        Where it is not finite, `fit` goes no further than the current step.
        """
        loss = float(self.state.totals.loss) / examples
        if not math.isfinite(loss):
            self.stop()
        return loss

    def evaluate(
        self, x: ArrayLike, y: ArrayLike, batch_size: int = 250, data_on_device: bool | None = None
    ) -> Evaluation:
        """Loss, with the L2 penalty, and accuracy on these examples; `batch_size` bounds the memory."""
        require_integer("evaluate", "batch_size", batch_size)
        need = memory.Need(self.backend, (x, y), batch_size, self.step_memory)
        on_device = need.fits() if data_on_device is None else data_on_device
        examples = self._inputs.place(x, y, on_device)
        return evaluation.evaluate(self._program, self._variables(), *examples, batch_size)

    def predict(self, x: ArrayLike, batch_size: int = 250) -> np.ndarray:
        """On the host: each example's class (n,), or its outputs (n, d) where the loss has no classes."""
        return self._predict(x, batch_size, self.loss_function.predict)

    def predict_proba(self, x: ArrayLike, batch_size: int = 250) -> np.ndarray:
        """On the host: the probability of each class (n, d). ConfigError where the loss gives none."""
        probabilities = getattr(self.loss_function, "probabilities", None)
        if probabilities is None:
            raise ConfigError(f"predict_proba: expected a loss with probabilities, got {self.loss_function}")
        return self._predict(x, batch_size, probabilities)

    def _predict(self, x: ArrayLike, batch_size: int, interpret: Callable[[Array], Array]) -> np.ndarray:
        require_integer("predict", "batch_size", batch_size)
        x = self._inputs.place_x(x)
        return evaluation.predict(self._program, self._variables(), x, batch_size, interpret)

    # Copies, files and tables.

    def parameter_count(self) -> int:
        """The number of parameters."""
        return summary.count(self.params)

    def snapshot(self) -> Tree:
        """A copy, on the device, of the parameters and statistics that `evaluate` and `predict` use."""
        return tree.map(self.backend.copy, self._variables())

    def restore(self, snapshot: Tree) -> None:
        """Go back to what `snapshot` gave, and start the optimizer afresh.

        Raises ShapeError for arrays of another network, and leaves the model as it was.
        """
        arrays = dict(tree.items(trees.like(self._variables(), snapshot, self.backend, "")))
        self._start_from(tree.replace(self.params, arrays))
        self._update(statistics=tree.replace(self.statistics, arrays))

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
        checkpoint.write(path, self._capture())

    def load_checkpoint(self, path: str | Path) -> None:
        """Go back to what `save_checkpoint` wrote: `fit` then does bit for bit what it would have done.

        That holds for the same data and options on the same backend; on another one, up to rounding.
        Schedule and callbacks get their state when `fit` starts.

        Raises CheckpointError where the file cannot be read, or is of another network, optimizer,
        dtype or seed, and leaves the model as it was.
        """
        self._go_on_from(checkpoint.read(path), path)

    def _capture(self) -> dict[str, Any]:
        return checkpoint.capture(self._training, self.backend, self.seed)

    def _go_on_from(self, saved: Tree, path: str | Path, own_layout: bool = True) -> None:
        found = checkpoint.restore(self.state, self.backend, self.seed, saved, path, own_layout)
        self._training.state, self._training.progress = found.state, found.progress
        self.zero_grads()

    def __getstate__(self) -> dict[str, Any]:
        arguments = {
            "net": self.net,
            "loss": self.loss_function,
            "optimizer": self.optimizer,
            "backend": self.backend.name,
            "seed": self.seed,
            "micro_batch": self.micro_batch,
            **self._options,
        }
        return {"arguments": arguments, "training": self.training, "saved": self._capture()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        Model.__init__(self, **state["arguments"])
        self.training = state["training"]
        self._go_on_from(state["saved"], "pickle", own_layout=False)

    def summary(self, input_shape: Shape | None = None, batch_size: int = 64) -> str:
        """A table of the layers: outputs, parameters, operations, and the memory of a training step.

        Operations are those in matrix products; bytes are those that the forward pass keeps for the
        backward pass, where two layers keep the same array at the first of them.

        Arguments:
            input_shape: that of x without the examples, `(28, 28, 1)`; if not given, that of the
                last x seen, and without one the table has the parameters alone.
            batch_size: examples in a step.
        """
        seen = self._inputs.input_shape
        shape = seen[1:] if input_shape is None and seen else input_shape
        if shape is None:
            return summary.text(self.net, self.params)
        rows, memory = needs(self.net, self.state, self.backend, (batch_size, *shape), self.micro_batch)
        step = f"A step of {batch_size} examples in {self.backend.dtype_name} takes {memory}"
        return summary.text(self.net, self.params, rows, step)

    def step_memory(self, input_shape: Shape, batch_size: int = 64) -> StepMemory:
        """The bytes that a training step of so many examples takes, found without running it."""
        return needs(self.net, self.state, self.backend, (batch_size, *input_shape), self.micro_batch)[1]

    def prepare(self, x: ArrayLike, y: ArrayLike) -> tuple[Array, Array]:
        """Inputs and targets as the network takes them: on the device, in its dtype, of fitting shapes."""
        return self._inputs.place(x, y)

"""The model: a network that trains in one call or step by step, with its files and tables."""

from __future__ import annotations  # `help` shows ArrayLike, not all that it stands for

import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from xpnet import tree
from xpnet._training import (
    arguments,
    checkpoint,
    divergence,
    evaluation,
    given,
    held_out,
    judging,
    loop,
    memory,
    outcome,
    progress_bar,
    sources,
    trees,
    weights,
)
from xpnet._training.batches import GivenBatches
from xpnet._training.given import Batches
from xpnet._training.hooks import Hooks
from xpnet._training.learner import Learner, fitting
from xpnet._training.measuring import Measures
from xpnet._util.checks import require_integer
from xpnet.callbacks import Callback
from xpnet.errors import ConfigError, Error
from xpnet.metrics import Evaluation, History
from xpnet.schedules import Schedule
from xpnet.tree import Array, ArrayLike, Tree


class Model(Learner):
    """A network, its loss and its optimizer, with the parameters and the state of training.

    Train in one call, `model.fit(x, y, epochs=10)`, or by hand, as courses teach it:

        model.forward(x)
        model.zero_grads()
        model.backward(y)
        model.step()

    `forward` starts in training mode (dropout drops, batch normalisation uses the batch); `model.eval()`
    and `model.train()` switch it. `evaluate`, `predict` and what `fit` measures after an epoch always use
    evaluation mode.

    Inputs x are (n, ...). Targets are integer labels (n,), or what the loss expects. Both may be NumPy
    arrays, lists, or arrays of any library.

    Arguments:
        net: an `xpnet.nn` layer, usually `Sequential`.
        loss: from `xpnet.losses`.
        optimizer: from `xpnet.optim`.
        backend: the array library: "numpy", "cupy", "torch", "jax", "dask" or "array-api-strict".
        seed: seed of the initial weights, of the order of the examples and of all noise. The same seed gives
            the same random numbers on every backend.
        dtype: "float32" or "float64".
        device: a device of the library, such as "cuda:1", on JAX also "gpu:all"; None: the library's default.
        l2: λ of a penalty λ/2·Σw² over all weights (never biases). Every reported loss includes it.
        augment: applied by `fit` to each batch of inputs, for example `data.augment.RandomCrop(4)`.
        micro_batch: the number of examples that `fit` passes through the network at once, to bound the
            memory; their gradients add up to those of the batch. None: all, or on NumPy what suits the cache.
        tf32: whether a GPU may round the factors of float32 products and convolutions to TF32, with 10 bits
            after the first: faster, with errors of 0.001 instead of 1e-7. On CuPy, in `fit` alone.

    Attributes:
        state: everything that a training step changes; read-only.
        epoch: the number of epochs that `fit` has completed.
        epoch_step: the number of steps taken in the current epoch; set it to 0 to restart that epoch.
        history: the metrics of each epoch: a list with the methods `to_frame()` and `plot()`.
        learning_rate: the learning rate of the last step of `fit`.

    `pickle` and `copy.deepcopy` keep the arguments and the contents of a checkpoint: a copy continues the
    training bit for bit. They do not keep `grads` and the last `forward`.

    Raises BackendError if the backend cannot be used, ConfigError for a number out of range or a layer
    whose `init` does not return a tree of arrays. Methods raise ShapeError if x or the target does not fit
    the network.
    """

    # Training in one call.

    def fit(
        self,
        x: ArrayLike | Batches,
        y: ArrayLike | None = None,
        *,
        epochs: int = 10,
        batch_size: int | None = None,
        validation: tuple[ArrayLike, ArrayLike] | Batches | None = None,
        validation_split: float | None = None,
        shuffle: bool | None = None,
        schedule: Schedule | None = None,
        callbacks: Sequence[Callback] | Callback | None = (),
        data_on_device: bool | None = None,
        progress: bool | str = "auto",
        sample_weight: ArrayLike | None = None,
        train_metrics: str = "running",
        train_metrics_examples: int | None = None,
        test: tuple[ArrayLike, ArrayLike] | Batches | None = None,
        steps_per_epoch: int | None = None,
    ) -> History:
        """Train for a number of epochs: `fit(x, y)` with arrays, `fit(batches)` with any iterable of batches.

        Another call continues where this one ended, with the schedule and the callbacks in the state before
        their first `fit`. After `load_checkpoint`, or an exception such as Ctrl-C, it resumes instead: the
        rest of the interrupted epoch counts as the first of `epochs`, and the same schedule and callbacks go
        on. Nothing is lost or done twice: if a step was interrupted, the epoch starts again. An iterator of
        batches resumes between epochs alone. The data set is copied to the device once, unless it is too
        large. Within an epoch only callbacks wait for the device.

        Arguments:
            x, y: inputs (n, ...) and targets. Without y, x is an iterable of batches `(x, y)` or
                `(x, y, sample_weight)` of any sizes: a DataLoader, a list, a generator, an object with a
                length and items. An epoch is one pass over it, in its order; `xpnet/docs/data.md` says more.
            epochs: the number of passes over all examples.
            batch_size: examples per step, 64 by default; the last batch of an epoch may be smaller.
            validation: `(x, y)` to evaluate after each epoch, or an iterable of batches.
            validation_split: in place of `validation`, the share of the examples to hold out: the last ones
                before any shuffling, as in Keras and `data.split`. Warns if a class is among these alone.
            shuffle: whether to draw a new order for each epoch, from the seed and the epoch's number; True by
                default.
            schedule: from `xpnet.schedules`: a factor on the optimizer's learning rate at each step. Its time
                is `epoch`, which goes on from one call to the next. Warns if the schedule is over.
            callbacks: hooks to call after each step and each epoch.
            data_on_device: False leaves x and y on the host, in memory or in memory-mapped files, and copies
                chunks of batches to the device while a thread reads the next chunk. The results are the
                same. None: False if the data does not fit into the free memory of the GPU, else True.
            progress: whether to show the progress, on standard error or in a notebook's cell. "auto": on a
                terminal and in a notebook, if it takes longer than a second. A notebook shows the learning
                curves too, after 3 seconds.
            sample_weight: the weight w ≥ 0 of each example, (n,). A step minimises the weighted mean
                Σ wₙ lₙ / Σ wₙ of its batch's losses lₙ, plus the L2 penalty; a batch without weights above 0
                has no gradient. Loss and accuracy of the training are weighted means over the epoch.
                The statistics of batch normalisation are not weighted, nor are validation and test.
            train_metrics: what `train_loss` and `train_accuracy` of an epoch are. "running": the means over
                its batches, each measured before its update. "end": those of the network after the last
                update, as `evaluate` gives them, in evaluation mode: one more pass over x after each epoch.
            train_metrics_examples: with "end", the number of training examples to measure, the first ones.
            test: `(x, y)` to evaluate after each epoch as well, for the record: nothing is chosen by it.
            steps_per_epoch: with batches, the steps of an epoch, instead of one pass. The next epoch, also of
                the next call, goes on with the next batch, and begins another pass where one ends.

        Returns the metrics of these epochs, a list with `to_frame()` and `plot()`; `history` holds the
        metrics of all epochs.

        Raises ConfigError if the interrupted epoch to resume had other batches, or batches that can be read
        only once; and for batches with an argument that means nothing for them. After each epoch, raises
        DivergedError if the loss or a parameter is infinite or NaN; the error names the step and the layer
        where it began. After a DivergedError, or an exception in a step, the model is as before the epoch.
        """
        arguments.check_fit(
            [self._settings()],
            x=x,
            y=y,
            epochs=epochs,
            batch_size=batch_size,
            validation=validation,
            validation_split=validation_split,
            shuffle=shuffle,
            schedule=schedule,
            data_on_device=data_on_device,
            progress=progress,
            train_metrics=train_metrics,
            train_metrics_examples=train_metrics_examples,
            test=test,
            sample_weight=sample_weight,
            steps_per_epoch=steps_per_epoch,
        )
        if self._fitting:
            raise Error(
                "fit: expected no other fit of this model to run, got one that has not ended; "
                "a callback may train another model, such as copy.deepcopy(model)"
            )
        called = arguments.callbacks_of(callbacks)
        batch_size, batches = 64 if batch_size is None else int(batch_size), None
        if y is None:
            placer = given.Placer(self._inputs, self.loss_function)
            batches = GivenBatches(placer, x, steps_per_epoch, self._training.progress)
            batches.require_steps(schedule, epochs)
            if epochs == 0:
                return self._run(batches, 0, Measures(0, None, None), schedule, called)
            inputs, targets, batch_size = batches.first()
        else:
            inputs, targets = self._inputs.read(x), self._inputs.read(y, "y")
        if validation_split is not None:
            (inputs, targets), validation = held_out.split(validation_split, inputs, targets)
            sample_weight = held_out.training_part(sample_weight, inputs, validation[0])
        else:
            validation = held_out.read(self._inputs, "validation", validation)
        test = held_out.read(self._inputs, "test", test)
        need = memory.Need(
            self.backend, (inputs, targets, *held_out.arrays(validation, test)), batch_size, self.step_memory
        )
        with memory.explain_out_of_memory(self.backend, need):
            on_device = need.fits() if data_on_device is None else bool(data_on_device)
            order = {"batch_size": batch_size, "shuffle": shuffle is not False, "seed": self.seed}
            arrays = self._inputs, self.loss_function, inputs, targets, sample_weight, on_device
            source = sources.Arrays.of(*arrays, **order) if batches is None else batches.with_shapes()
            if self.epoch_step:
                judging.require_same_weights(self.state.totals, source.y, source.restart)
            self._use_loss(judging.for_training(self.loss_function, source.y, self.backend))
            validated = held_out.place(self._inputs, "validation", validation, on_device)
            tested = held_out.place(self._inputs, "test", test, on_device)
            if validation_split is not None and validated is not None:
                labels = judging.without_weights(source.y), validated[1]
                held_out.warn_of_sorted(*(self.backend.on_host(each)[:] for each in labels))
            called = (*progress_bar.callbacks(progress, epochs, source.examples), *called)
            at_end = train_metrics_examples if train_metrics == "end" else 0
            return self._run(source, epochs, Measures(at_end, validated, tested), schedule, called)

    def _run(self, source: Any, epochs: int, measures: Measures, schedule: Any, called: Any) -> History:
        hooks = Hooks(self, self._training, schedule, called)
        with fitting([self]):
            return loop.run(
                lambda: self._program, self._training, source, epochs=epochs, measures=measures, hooks=hooks
            )

    def stop(self) -> None:
        """End `fit` after the current step. An epoch that is cut short does not enter the history."""
        self._training.stopping = True

    def has_diverged(self) -> bool:
        """Whether a loss of this epoch or a parameter is infinite or NaN. Waits for the device."""
        return divergence.has_diverged(self.state)

    def running_loss(self, examples: int) -> float:
        """The mean training loss over the first `examples` of this epoch. Waits for the device.

        If it is infinite or NaN, `fit` ends after the current step.
        """
        loss = evaluation.of_totals(self.state.totals, examples, penalty=0.0).loss
        if not math.isfinite(loss):
            self.stop()
        return loss

    def evaluate(
        self,
        x: ArrayLike | Batches,
        y: ArrayLike | None = None,
        batch_size: int | None = None,
        data_on_device: bool | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> Evaluation:
        """Loss (with the L2 penalty) and accuracy on these examples.

        Without y, x is an iterable of batches, as `fit` takes them; with y, `batch_size`, 250 by default,
        bounds the memory. With `sample_weight` (n,), loss and accuracy are weighted means, and `errors` is
        the sum of the weights of the wrong predictions.

        Raises ShapeError if the loss is not finite because a value in x or y is not; the error says which.
        Raises DivergedError if the loss is NaN and x and y are finite.
        """
        arguments.check_evaluate(
            x, y, batch_size=batch_size, data_on_device=data_on_device, sample_weight=sample_weight
        )
        if y is None:
            batches = given.Placed(given.Passes(x).once_more, given.Placer(self._inputs, self.loss_function))
            found = evaluation.evaluate_batches(self._program, self._variables(), batches)
        else:
            size = 250 if batch_size is None else int(batch_size)
            read = self._inputs.read(x), self._inputs.read(y, "y")
            need = memory.Need(self.backend, read, size, self.step_memory)
            on_device = need.fits() if data_on_device is None else data_on_device
            placed, target = self._inputs.place(*read, on_device)
            target = judging.weighted(self.loss_function, target, sample_weight, self.backend, on_device)
            found = evaluation.evaluate(self._program, self._variables(), placed, target, size)
        if math.isnan(found.loss):
            outcome.diverged(self.backend, "evaluate: expected a finite loss, got nan", self._variables())
        return found

    def predict(self, x: ArrayLike | Batches | Iterable[Array], batch_size: int | None = None) -> np.ndarray:
        """The class of each example (n,), or its outputs (n, d) if the loss has no classes; on the host.

        x may be an iterable of batches: of x, or of `(x, y)` as `fit` takes them, whose y are not used.

        Raises ShapeError if an output is not finite because a value in x is not; the error says which.
        Raises DivergedError if an output is NaN or ∞ and x is finite.
        """
        return self._predict(x, batch_size, self.loss_function.predict)

    def predict_proba(
        self, x: ArrayLike | Batches | Iterable[Array], batch_size: int | None = None
    ) -> np.ndarray:
        """The probability of each class (n, d), on the host. Errors as for `predict`.

        Raises ConfigError if the loss defines no probabilities.
        """
        probabilities = getattr(self.loss_function, "probabilities", None)
        if probabilities is None:
            raise ConfigError(f"predict_proba: expected a loss with probabilities, got {self.loss_function}")
        return self._predict(x, batch_size, probabilities)

    def _predict(
        self,
        x: ArrayLike | Batches | Iterable[Array],
        batch_size: int | None,
        interpret: Callable[[Array], Array],
    ) -> np.ndarray:
        if batch_size is not None:
            require_integer("predict", "batch_size", batch_size)
        if given.are_inputs(x):
            arguments.refuse_with_batches("predict", arguments.BATCHES, {"batch_size": batch_size})
            batches = given.inputs_of(self._inputs, x)
            return evaluation.predict_batches(self._program, self._variables(), batches, interpret)
        size = 250 if batch_size is None else int(batch_size)
        placed = self._inputs.place_x(self._inputs.read(x))
        return evaluation.predict(self._program, self._variables(), placed, size, interpret)

    # Copies and files.

    def snapshot(self) -> Tree:
        """A copy on the device of the parameters and statistics that `evaluate` and `predict` use."""
        return tree.map(self.backend.copy, self._variables())

    def restore(self, snapshot: Tree) -> None:
        """Restore the parameters and statistics of a `snapshot`, and reset the optimizer.

        A dict from their names, such as `0.weight` in a file of `save`, does as well.

        Raises ShapeError for arrays of another network; the model is then unchanged.
        """
        arrays = dict(tree.items(trees.like(self._variables(), snapshot, self.backend, "")))
        self._start_from(tree.replace(self.params, arrays), tree.replace(self.statistics, arrays))

    def save(self, path: str | Path) -> None:
        """Save the parameters and statistics to a `.npz` file, as arrays with names like `0.weight`."""
        weights.save(path, self._variables(), self.backend)

    def load(self, path: str | Path) -> None:
        """Load parameters and statistics from a file that `save` wrote, and reset the optimizer.

        Raises CheckpointError if the file cannot be read or belongs to another network; the model is then
        unchanged.
        """
        self.restore(weights.load(path, self._variables()))

    def save_checkpoint(self, path: str | Path) -> None:
        """Save everything that `fit` needs to resume. A callback may call it after any step.

        The file holds the parameters, the statistics, the optimizer's state, the position in the epoch, the
        history, and the states of the schedule and the callbacks of the last `fit`. It does not hold the
        network, the data and the other arguments of the model and of `fit`: pass them again.
        `xpnet/_training/checkpoint.py` describes the format.

        Raises CheckpointError if the file cannot be written.
        """
        checkpoint.write(path, checkpoint.capture(self._training, self.backend, self.seed))

    def load_checkpoint(self, path: str | Path) -> None:
        """Load a file that `save_checkpoint` wrote; `fit` then resumes as if it had never been interrupted.

        With the same data and options, the results are bit-equal on the same backend and equal up to rounding
        on another one. `fit` restores the states of its schedule and callbacks when it starts.

        Raises CheckpointError if the file cannot be read or belongs to another network, optimizer, dtype or
        seed; the model is then unchanged.
        """
        self._resume(checkpoint.read(path), path)

    def _resume(self, saved: Tree, path: str | Path, own_layout: bool = True) -> None:
        self._training.take_over(
            checkpoint.restore(self.state, self.backend, self.seed, saved, path, own_layout)
        )
        self.zero_grads()

    def __getstate__(self) -> dict[str, Any]:
        given = {
            "net": self.net,
            "loss": self.loss_function,
            "optimizer": self.optimizer,
            "backend": self.backend.name,
            "seed": self.seed,
            "micro_batch": self.micro_batch,
            **self._options,
        }
        saved = checkpoint.capture(self._training, self.backend, self.seed, of_copy=True)
        return {"arguments": given, "loss": self.objective.loss, "training": self.training, "saved": saved}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._is_copy = True  # whose warnings have been given
        Model.__init__(self, **state["arguments"])
        self._use_loss(state["loss"])
        self.training = state["training"]
        self._resume(state["saved"], "pickle", own_layout=False)

    def prepare(self, x: ArrayLike, y: ArrayLike) -> tuple[Array, Array]:
        """Check inputs and targets, and place them on the device in the model's dtype."""
        return self._inputs.place(x, y)

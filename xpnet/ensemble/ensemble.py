"""Many networks of one architecture, trained at once."""

import copy
import math
import warnings
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from xpnet._training import (
    arguments,
    ensemble_answers,
    ensemble_arguments,
    ensemble_data,
    ensemble_fit,
    given,
    held_out,
    judging,
    memory,
    progress_bar,
)
from xpnet._training.ensemble_arguments import Own
from xpnet._training.ensemble_sources import EnsembleArrays, EnsembleBatches
from xpnet._training.given import Batches
from xpnet._training.hooks import Hooks
from xpnet._training.learner import fitting
from xpnet._training.measuring import Measures
from xpnet._training.step import Augment
from xpnet._util.checks import require_flag, require_integer
from xpnet.callbacks import Callback, EarlyStopping
from xpnet.ensemble._files import SavedNetworks
from xpnet.ensemble._networks import Copies
from xpnet.ensemble.history import EnsembleEvaluation, EnsembleHistory
from xpnet.errors import ConfigError, Error
from xpnet.losses import Loss
from xpnet.model import Model
from xpnet.nn import Layer
from xpnet.optim import Optimizer
from xpnet.schedules import Schedule
from xpnet.tree import Array, ArrayLike

COMBINATIONS = ("each", "mean", "vote")


class Ensemble(SavedNetworks):
    """K networks of one architecture, trained at once: each step is one batched product of all of them.

        ensemble = xpnet.Ensemble(net, loss, optim.SGD(0.1), seeds=range(8))
        ensemble.fit(x, y, epochs=10, validation=(x_val, y_val))
        ensemble.best().predict(x_test)

    Network k is the one that `Model(net, loss, optimizer, backend, seed=seeds[k])` would give: the same
    initial weights, order of the examples, dropout masks and augmentation. `ensemble[k]` is that `Model`. It
    can go on alone, and the ensemble goes on from where it is then.

    Hyper-parameters may differ: pass an array of K numbers to the optimizer or as `l2`, or a list of K
    optimizers or of K networks, such as ones with other dropout rates. Parameters must have the same shapes.
    Layers, losses and optimizers that xpnet does not know take part too; they run network by network.

    Arguments:
        net: an `xpnet.nn` layer, or a list of K that differ in their hyper-parameters.
        loss: from `xpnet.losses`.
        optimizer: from `xpnet.optim`, with numbers or arrays of K; or a list of K.
        backend, dtype, device, augment, micro_batch, tf32: as in `Model`.
        seeds: a seed for each network, such as `range(8)`; they may be equal.
        l2: as in `Model`, a number or K of them.

    Attributes:
        diverged: for each network that was taken out because it diverged, what happened. `fit` leaves it out
            from then on: delete its entry to train it again.

    `len(ensemble)` is K. A step by hand is one network's: `ensemble[k].forward(x)`. `pickle` and
    `copy.deepcopy` work as for `Model`.

    Raises ConfigError if the numbers of seeds, networks, optimizers and hyper-parameters differ, or networks
    have other parameters or statistics; else errors as for `Model`.
    """

    def __init__(
        self,
        net: Layer | Sequence[Layer],
        loss: Loss,
        optimizer: Optimizer | Sequence[Optimizer],
        backend: str = "numpy",
        seeds: Sequence[int] = (),
        dtype: str = "float32",
        *,
        device: Any = None,
        l2: Any = 0.0,
        augment: Augment | None = None,
        micro_batch: int | None = None,
        tf32: bool = False,
    ) -> None:
        members = ensemble_arguments.members(net, optimizer, seeds, l2)
        options: dict[str, Any] = {
            "device": device,
            "augment": augment,
            "micro_batch": micro_batch,
            "tf32": tf32,
        }
        models = []
        for number, (its_net, its_optimizer, seed, its_l2) in enumerate(members):
            with warnings.catch_warnings():
                if number:  # the first one has given the warnings
                    warnings.simplefilter("ignore")
                models.append(Model(its_net, loss, its_optimizer, backend, seed, dtype, l2=its_l2, **options))
        ensemble_arguments.require_same_shapes("parameters", [model.params for model in models])
        ensemble_arguments.require_same_shapes("statistics", [model.statistics for model in models])
        self._assemble(models, augment, micro_batch)

    # Training.

    def fit(
        self,
        x: ArrayLike | Batches,
        y: ArrayLike | None = None,
        *,
        epochs: int = 10,
        batch_size: int | None = None,
        validation: tuple[ArrayLike, ...] | Batches | None = None,
        validation_split: float | None = None,
        shuffle: Any = None,
        schedule: Schedule | None = None,
        callbacks: Sequence[Callback] | Callback | None = (),
        data_on_device: bool | None = None,
        progress: bool | str = "auto",
        sample_weight: ArrayLike | None = None,
        train_metrics: str = "running",
        train_metrics_examples: int | None = None,
        test: tuple[ArrayLike, ...] | Batches | None = None,
        own_data: bool = False,
        steps_per_epoch: int | None = None,
    ) -> EnsembleHistory:
        """Train all networks for a number of epochs, as `Model.fit` trains one.

        Another call continues, and one after an interruption or `load_checkpoint` resumes, as in `Model.fit`.
        A network that diverges is taken out, with a warning: it keeps the parameters from the start of the
        epoch, and the others go on as if nothing had been.

        Arguments:
            x, y: inputs (n, ...) and targets for all networks; with `own_data`, those of each network,
                (K, n, ...). Without y, x is an iterable of batches of them, as in `Model.fit`: each batch
                trains all networks.
            epochs, batch_size, schedule, data_on_device, progress, train_metrics, train_metrics_examples,
                steps_per_epoch: as in `Model.fit`. Each network has a copy of the schedule.
            validation, test: as in `Model.fit`, or `(x, y, weights)` with weights (n,) or (K, n): loss and
                accuracy are then weighted means. With `own_data` each network's own (K, n, ...), or (n, ...)
                for all.
            validation_split: as in `Model.fit`.
            shuffle: "each", the default: an order for each network, from its seed; "shared": one order for
                all, from the first seed, which is faster; False: the order of the data.
            callbacks: as in `Model.fit`, called with the ensemble; the metrics that they get are means over
                the networks, and `ensemble.history` has those of each. Of `EarlyStopping`, `TensorBoard`, and
                a callback whose class says `each_network = True`, each network gets a copy, called with its
                `Model`: a network that stops takes no time any more.
            sample_weight: as in `Model.fit`, weights (n,), or (K, n) for each network: 0 leaves an example
                out.
            own_data: whether each network has its own x and y.

        Returns the metrics of these epochs.

        Raises DivergedError if all networks have diverged; else errors as for `Model.fit`.
        """
        validation, validation_weight = ensemble_arguments.pair("validation", validation)
        test, test_weight = ensemble_arguments.pair("test", test)
        own, shuffle = Own(self._team, own_data), ensemble_arguments.order(shuffle, y)
        arguments.check_fit(
            [each._settings() for each in self],
            {
                "own_data": own.is_own,
                "shuffle": shuffle,
                "weights of validation": validation_weight,
                "weights of test": test_weight,
                "diverged": sorted(self.diverged),
            },
            x=x,
            y=y,
            epochs=epochs,
            batch_size=batch_size,
            validation=validation,
            validation_split=validation_split,
            shuffle=None,
            schedule=schedule,
            data_on_device=data_on_device,
            progress=progress,
            train_metrics=train_metrics,
            train_metrics_examples=train_metrics_examples,
            test=test,
            sample_weight=sample_weight,
            steps_per_epoch=steps_per_epoch,
        )
        called = arguments.callbacks_of(callbacks)
        if self._fitting:
            raise Error("fit: expected no other fit of this ensemble to run, got one that has not ended")
        batch_size, batches = 64 if batch_size is None else int(batch_size), None
        if y is None:
            batches = EnsembleBatches(own, x, steps_per_epoch, self._team.progress())
            batches.require_steps(schedule, epochs)
            if epochs == 0:
                return self._run(batches, 0, Measures(0, None, None), schedule, called)
            x, y, batch_size = batches.first()
        else:
            x, y = own.read("x", x), own.read("y", y)
        if validation_split is not None:
            (x, y, sample_weight), validation = own.split(validation_split, x, y, sample_weight)
        need = self._need(own, x, y, batch_size)
        with memory.explain_out_of_memory(self.backend, need):
            on_device = need.fits() if data_on_device is None else bool(data_on_device)
            if batches is None:
                data = own.place(x, y, sample_weight, on_device)
                source: Any = EnsembleArrays(self._team, data, batch_size, shuffle)
            else:
                source = batches.with_shapes()
            own.use_losses(source.y)
            measures = Measures(
                train_metrics_examples if train_metrics == "end" else 0,
                own.measured("validation", validation, validation_weight, on_device),
                own.measured("test", test, test_weight, on_device),
            )
            if validation_split is not None and measures.validation is not None and not own_data:
                labels = judging.without_weights(source.y), measures.validation.y
                held_out.warn_of_sorted(*(self.backend.on_host(each)[:] for each in labels))
            called = (*progress_bar.callbacks(progress, epochs, source.examples), *called)
            return self._run(source, epochs, measures, schedule, called)

    def _run(
        self,
        source: Any,
        epochs: int,
        measures: Measures,
        schedule: Schedule | None,
        called: Sequence[Callback],
    ) -> EnsembleHistory:
        before = [len(model.history) for model in self]
        copies = self._copied(schedule, called)
        self._restored = {}
        fit = ensemble_fit.Fit(
            self._team,
            source,
            measures,
            Hooks(self, self._team.training, None, [each for each in called if not each.each_network]),  # type: ignore[arg-type]
            [
                Hooks(model, self._team.engine(k).training, copies.schedules[k], copies.callbacks[k])
                for k, model in enumerate(self._models)
            ],
        )
        try:
            self._fitting = True
            with fitting(self._models):
                fit.run(epochs)
        finally:
            self._fitting = False
            self._note_restored(copies)
        return EnsembleHistory.of([model.history[n:] for n, model in zip(before, self, strict=True)])

    def _copied(self, schedule: Schedule | None, called: Sequence[Callback]) -> "Copies":
        """The copies of schedule and callbacks for each network; those of an interrupted `fit` again."""
        originals = [schedule, *[each for each in called if each.each_network]]
        everyone = range(len(self))
        trainings = [self._team.training, *[self._team.engine(k).training for k in everyone]]
        for kept in self._copies if any(each.unfinished for each in trainings) else ():
            if len(kept.originals) == len(originals) and all(
                a is b for a, b in zip(kept.originals, originals, strict=True)
            ):
                return kept
        copies = Copies(
            originals,
            [copy.deepcopy(schedule) for _ in everyone],
            [[each.for_network(k) for each in called if each.each_network] for k in everyone],
        )
        self._copies = [copies]
        return copies

    def _note_restored(self, copies: "Copies") -> None:
        """The epoch whose parameters `EarlyStopping` has restored, and the last one, for each network."""
        for k, called in enumerate(copies.callbacks):
            for each in reversed(called):  # as `on_end` is called
                if isinstance(each, EarlyStopping) and each.snapshot is not None:
                    self._restored[k] = each.best_epoch, self[k].epoch

    def running_loss(self, examples: int) -> float:
        """The mean over networks of `Model.running_loss`. Waits for the device."""
        totals = self._team.training.state.totals
        if not hasattr(totals.loss, "shape"):
            return float(np.mean([model.running_loss(examples) for model in self]))
        found = ensemble_data.of_totals(self.backend, totals, examples, [0.0] * totals.loss.shape[0])
        losses = [each.loss for each in found if math.isfinite(each.loss)]
        return float(np.mean(losses)) if losses else math.nan

    def _need(self, own: Own, x: Any, y: Any, batch_size: int) -> memory.Need:
        step_memory = lambda shape, n: self.step_memory(shape[own.is_own :], n)  # noqa: E731
        return memory.Need(self.backend, (x, y), batch_size, step_memory)

    # Use of the trained networks.

    def evaluate(
        self,
        x: ArrayLike | Batches,
        y: ArrayLike | None = None,
        batch_size: int | None = None,
        data_on_device: bool | None = None,
        sample_weight: ArrayLike | None = None,
        own_data: bool = False,
    ) -> EnsembleEvaluation:
        """Loss (with the L2 penalty) and accuracy of each network, as `Model.evaluate` gives them.

        Arguments as for `fit`. A network whose loss is not finite for finite data has it in its place.
        """
        arguments.check_evaluate(
            x, y, batch_size=batch_size, data_on_device=data_on_device, sample_weight=sample_weight
        )
        if data_on_device is not None:
            require_flag("evaluate", "data_on_device", data_on_device)
        own, size = Own(self._team, own_data), 250 if batch_size is None else int(batch_size)
        if y is None:
            data: Any = own.batches(x)
        else:
            x, y = own.read("x", x), own.read("y", y)
            on_device = self._need(own, x, y, size).fits() if data_on_device is None else data_on_device
            data = own.place(x, y, sample_weight, on_device)
        places = tuple(range(len(self)))
        program = self._team.program(places)
        found = ensemble_data.evaluate(program, places, self._team.variables(places), data, size)

        def numbers(name: str) -> Any:
            values = [getattr(each, name) for each in found]
            if all(value is None for value in values):
                return None
            return np.array([math.nan if value is None else value for value in values])

        return EnsembleEvaluation(*map(numbers, EnsembleEvaluation._fields))

    def predict(
        self,
        x: ArrayLike | Batches | Iterable[Array],
        batch_size: int | None = None,
        *,
        combine: str = "each",
        own_data: bool = False,
    ) -> np.ndarray:
        """What `Model.predict` gives for each network, or one answer of all of them; on the host.

        Arguments:
            x: inputs (n, ...); with `own_data`, those of each network (K, n, ...); or batches of them.
            batch_size: bounds the memory; 250 by default.
            combine: "each": (K, n), or (K, n, d) if the loss has no classes. "mean": (n,), the class by the
                mean of the probabilities, or of the outputs where the loss has none; without classes (n, d),
                the mean of the outputs. "vote": (n,), the class that most networks give; of equally many,
                the smallest.

        Networks that have diverged answer under "each" alone. Errors as for `Model.predict`.
        """
        if combine not in COMBINATIONS:
            expected = ", ".join(f'"{each}"' for each in COMBINATIONS)
            raise ConfigError(f"predict: expected combine to be one of {expected}, got {combine!r}")
        outputs = self._outputs(x, combine == "each", batch_size, own_data)
        ways = {
            "each": ensemble_answers.answers,
            "mean": ensemble_answers.by_mean,
            "vote": ensemble_answers.by_vote,
        }
        return ways[combine](self.loss_function, self.backend, outputs)

    def predict_proba(
        self,
        x: ArrayLike | Batches | Iterable[Array],
        batch_size: int | None = None,
        *,
        combine: str = "mean",
        own_data: bool = False,
    ) -> np.ndarray:
        """The mean probability of each class (n, d), or with combine="each" those of each network (K, n, d).

        Errors as for `predict`; ConfigError if the loss defines no probabilities.
        """
        if combine not in ("each", "mean"):
            raise ConfigError(f'predict_proba: expected combine to be "each" or "mean", got {combine!r}')
        if not hasattr(self.loss_function, "probabilities"):
            raise ConfigError(f"predict_proba: expected a loss with probabilities, got {self.loss_function}")
        outputs = self._outputs(x, combine == "each", batch_size, own_data)
        found = ensemble_answers.probabilities(self.loss_function, self.backend, outputs)
        return found if combine == "each" else found.mean(axis=0)

    def _outputs(self, x: Any, all_of_them: bool, batch_size: int | None, own_data: bool) -> np.ndarray:
        """The outputs (K, n, d) of all networks, or of those that have not diverged."""
        if batch_size is not None:
            require_integer("predict", "batch_size", batch_size)
        own = Own(self._team, own_data)
        everyone = range(len(self))
        places = tuple([k for k in everyone if all_of_them or k not in self.diverged]) or tuple(everyone)
        program = self._team.program(places)
        variables = self._team.variables(places)
        if given.are_inputs(x):
            arguments.refuse_with_batches("predict", arguments.BATCHES, {"batch_size": batch_size})
            batches = given.inputs_of(own.inputs, x, own.place_x)
            return ensemble_data.predict_batches(program, places, variables, batches)
        size = 250 if batch_size is None else int(batch_size)
        return ensemble_data.predict(program, places, variables, own.place_x(x), size)

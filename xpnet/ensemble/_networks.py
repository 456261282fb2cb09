"""The networks of an ensemble: access to them, and their tables."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from xpnet import tree
from xpnet._training import ensemble_arguments, summary, trees
from xpnet._training.ensemble import Team
from xpnet._training.sizes import needs
from xpnet._training.step import Augment
from xpnet._training.summary import Row, StepMemory
from xpnet._util import text
from xpnet._util.checks import require_shape
from xpnet.callbacks import Callback
from xpnet.ensemble.history import EnsembleHistory
from xpnet.errors import ConfigError
from xpnet.model import Model
from xpnet.nn._layer import Shape
from xpnet.optim import Optimizer
from xpnet.schedules import Schedule
from xpnet.tree import Tree

BY_HAND = "forward", "backward", "step", "zero_grads", "grads", "loss", "errors", "prepare"
OF_ONE = (  # attributes of `Model`, and what to do
    dict.fromkeys(BY_HAND, "a step by hand is one network's; write ensemble[k].{}")
    | dict.fromkeys(
        ("train", "eval", "training"),
        "evaluate and predict use evaluation mode anyway; for forward of one network write ensemble[k].{}",
    )
    | dict.fromkeys(("state", "objective", "micro_batch"), "each network has its own; write ensemble[k].{}")
)


class Copies(NamedTuple):
    """The schedule and the callbacks that networks have copies of, and these."""

    originals: list[Any]
    schedules: list[Schedule | None]
    callbacks: list[list[Callback]]


class Networks:
    """The base class of `xpnet.Ensemble`: what it has of its networks. `Ensemble` documents it."""

    def _assemble(self, models: Sequence[Model], augment: Augment | None, micro_batch: int | None) -> None:
        self._models = tuple(models)
        self._options = {"augment": augment, "micro_batch": micro_batch}
        self._team = Team(models, augment, micro_batch)
        self._copies: list[Copies] = []
        self._restored: dict[int, tuple[int, int]] = {}
        self._fitting = False
        self.backend = models[0].backend
        self.loss_function = models[0].loss_function
        self.net = models[0].net

    def __len__(self) -> int:
        return len(self._models)

    def __getitem__(self, k: int) -> Model:
        self._team.sync()
        try:
            return self._models[k]
        except IndexError:
            last = len(self) - 1
            raise IndexError(f"Ensemble: expected a network from 0 to {last}, got {k}") from None

    def __iter__(self) -> Iterator[Model]:
        self._team.sync()
        return iter(self._models)

    @property
    def seeds(self) -> list[int]:
        """The seed of each network."""
        return [model.seed for model in self._models]

    @property
    def seed(self) -> int:
        """The first seed."""
        return self._models[0].seed

    @property
    def diverged(self) -> dict[int, str]:
        return self._team.diverged

    @property
    def epoch(self) -> int:
        """The number of epochs that `fit` of the ensemble has completed; assign it to all networks."""
        self._team.sync()
        return self._team.training.progress.epoch

    @epoch.setter
    def epoch(self, epoch: int) -> None:
        training = self._team.training
        for model in self:
            model.epoch = epoch
        training.progress = training.progress._replace(epoch=epoch)

    @property
    def epoch_step(self) -> int:
        """The number of steps taken in the current epoch; set it to 0 to restart that epoch."""
        if self._team.fitting:
            return self._team.training.progress.epoch_step
        return max(model.epoch_step for model in self)

    @epoch_step.setter
    def epoch_step(self, step: int) -> None:
        training = self._team.training
        for model in self:
            model.epoch_step = step
        training.progress = training.progress._replace(epoch_step=step)

    @property
    def history(self) -> EnsembleHistory:
        """The metrics of each epoch: a list whose numbers are arrays of K, with `to_frame()` and `plot()`."""
        return EnsembleHistory.of([model.history for model in self])

    @property
    def params(self) -> Tree:
        """The parameters of all networks: arrays with a leading axis of K.

        Assign a tree of such arrays of any library, as to `Model.params`.
        """
        return self._stacked("params")

    @params.setter
    def params(self, params: Tree) -> None:
        self._assign("params", params)

    @property
    def statistics(self) -> Tree:
        """The statistics that layers collect in training, as `params`; assign them likewise."""
        return self._stacked("statistics")

    @statistics.setter
    def statistics(self, statistics: Tree) -> None:
        self._assign("statistics", statistics)

    def _stacked(self, name: str) -> Tree:
        """An attribute of all networks, a tree of arrays, with a leading axis of K."""
        return tree.map(
            lambda *arrays: self.backend.xp.stack(arrays), *[getattr(model, name) for model in self]
        )

    def _assign(self, name: str, arrays: Tree) -> None:
        """Give each network its part of these arrays."""
        stacked = trees.like(self._stacked(name), arrays, self.backend, name, "Ensemble")
        for k, model in enumerate(self):
            setattr(model, name, tree.map(lambda array, k=k: array[k, ...], stacked))

    @property
    def optimizer(self) -> list[Optimizer]:
        """The optimizer of each network; assign one or a list of K, as `Ensemble` takes them."""
        return [model.optimizer for model in self]

    @optimizer.setter
    def optimizer(self, optimizer: Optimizer | Sequence[Optimizer]) -> None:
        each = ensemble_arguments.optimizers(optimizer, len(self))
        for model, own in zip(self, each, strict=True):
            model.optimizer = own

    @property
    def l2(self) -> np.ndarray:
        """λ of the L2 penalty of each network (K,); assign a number or K of them."""
        return np.array([model.l2 for model in self])

    @l2.setter
    def l2(self, l2: Any) -> None:
        for model, own in zip(self, ensemble_arguments.strengths(l2, len(self)), strict=True):
            model.l2 = own

    @property
    def learning_rate(self) -> np.ndarray:
        """The learning rate of the last step of `fit` of each network (K,)."""
        return np.array([model.learning_rate for model in self])

    def best(self, monitor: str = "validation_loss") -> Model:
        """The network with the best last epoch; with the best restored epoch after `EarlyStopping`.

        Arguments:
            monitor: "validation_loss", "validation_accuracy", "train_loss", "train_accuracy", "test_loss" or
                "test_accuracy".

        Raises ConfigError if no network has that metric.
        """
        scores = {}
        for k, model in enumerate(self):
            history = {each.epoch: each for each in model.history}
            restored, last = self._restored.get(k, (model.epoch, model.epoch))
            epoch = restored if last == model.epoch else model.epoch  # it may have trained alone since
            value = ensemble_arguments.score(history.get(epoch), monitor)
            if value is not None and k not in self.diverged:
                scores[k] = value
        if not scores:
            way_out = "pass fit(…, validation=(x, y)), or " if monitor.startswith("validation") else ""
            raise ConfigError(
                f"best: expected networks with a {monitor}, got none; {way_out}write monitor='train_loss'"
            )
        return self[max(scores, key=scores.__getitem__)]

    # While they train.

    def callbacks_of(self, k: int) -> list[Callback]:
        """The copies of callbacks that network k got in the last `fit`."""
        return list(self._copies[-1].callbacks[k]) if self._copies else []

    def stop(self) -> None:
        """End `fit` after the current step. `ensemble[k].stop()` takes one network out of it."""
        self._team.training.stopping = True

    def has_diverged(self) -> bool:
        """Whether a parameter of a network that still trains is infinite or NaN. Waits for the device."""
        return any(self[k].has_diverged() for k in range(len(self)) if k not in self.diverged)

    # Tables.

    @property
    def input_shape(self) -> Shape | None:
        """The shape of one example of the last x; None before the first."""
        return self._models[0].input_shape

    def parameter_count(self) -> int:
        """The number of parameters of all networks."""
        return sum(model.parameter_count() for model in self._models)

    def step_memory(self, input_shape: Shape, batch_size: int = 64) -> StepMemory:
        """`Model.step_memory` of all networks, each on a batch of that size."""
        return self._needs(require_shape("step_memory", input_shape), batch_size)[1]

    def _needs(self, shape: Shape, batch_size: int) -> tuple[list[Row], StepMemory]:
        state, whole, parts = self[0].state, (batch_size, *shape), self._models[0].micro_batch
        rows, need = needs(self.net, state, self.backend, whole, parts, networks=len(self))
        numbers = sum(summary.count(model.state.optimizer) for model in self._models)  # of several optimizers
        return rows, need._replace(optimizer_state=numbers * self.backend.itemsize)

    def summary(self, input_shape: Shape | None = None, batch_size: int = 64) -> str:
        """The table of `Model.summary` for one network, and what all of them take.

        Arguments:
            input_shape: as in `Model.summary`.
            batch_size: examples per step and network.
        """
        shape = self.input_shape if input_shape is None else require_shape("summary", input_shape)
        total = f"{self._these()}: {self.parameter_count():,} parameters"
        if shape is None:
            return summary.text(self.net, self[0].params, step=total)
        rows, need = self._needs(shape, batch_size)
        on = " on each device" if self.backend.n_devices > 1 else ""
        step = f"A step of {batch_size} examples for each in {self.backend.dtype_name} takes{on} {need}"
        return summary.text(self.net, self[0].params, rows, f"{total}\n{step}")

    def _these(self) -> str:
        """The number of networks, of which a table shows the first."""
        same = len({str(model.net) for model in self._models}) == 1
        return f"{text.some(len(self), 'network')}{' like this' if same else ', of which this is the first'}"

    def _repr_html_(self) -> str:
        """The table that a notebook shows, as that of `Model`, for one network."""
        shape, rows = self.input_shape, None
        if shape is not None:
            rows, _ = self._needs(shape, 2)
        made_of = f"{self._these()}: {self.loss_function}, {self._calls('optimizer')}"
        return summary.html(f"{made_of}, {self._where()}", self.net, self[0].params, rows)

    def _calls(self, name: str) -> str:
        """The networks' layers, or optimizers: the first one, and the last one if they differ."""
        given = [getattr(model, name) for model in self._models]
        calls = [repr(each) if name == "net" else text.constructor_call(each) for each in given]
        first, last = text.shortened(calls[0]), text.shortened(calls[-1])
        return first if len(set(calls)) == 1 else f"{first} … {last}"

    def _where(self) -> str:
        gone = f", {len(self.diverged)} diverged" if self.diverged else ""
        return f"{self.backend.dtype_name} on {self.backend.name}, epoch {self.epoch}{gone}"

    def __repr__(self) -> str:
        made_of = f"{self._calls('net')}, {self.loss_function}, {self._calls('optimizer')}"
        count = self._models[0].parameter_count()
        return (
            f"<Ensemble of {len(self)} of {made_of}: {len(self)} × {count:,} parameters in {self._where()}>"
        )

    # What `Model` has and an ensemble does not.

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            if name in OF_ONE:
                raise AttributeError(f"Ensemble has no {name}: {OF_ONE[name].format(name)}")
            return self.__getattribute__(name)  # raises the error of a property, too

"""The networks of an ensemble: access to them, their copies and files."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from xpnet import tree
from xpnet._training import checkpoint, ensemble_arguments, ensemble_files
from xpnet._training.ensemble import Team
from xpnet._training.step import Augment
from xpnet.callbacks import Callback
from xpnet.ensemble.history import EnsembleHistory
from xpnet.errors import CheckpointError, ConfigError, ShapeError
from xpnet.model import Model
from xpnet.schedules import Schedule
from xpnet.tree import Tree


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
        return self._models[k]

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
        """The number of epochs that `fit` of the ensemble has completed."""
        self._team.sync()
        return self._team.training.progress.epoch

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
        """The parameters of all networks: arrays with a leading axis of K. Assign those of `ensemble[k]`."""
        return tree.map(lambda *arrays: self.backend.xp.stack(arrays), *[model.params for model in self])

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

    # Copies and files.

    def snapshot(self) -> Tree:
        """Copies on the device of parameters and statistics: a tuple of the `snapshot` of each network."""
        return tuple([model.snapshot() for model in self])

    def restore(self, snapshot: Tree) -> None:
        """Restore the parameters and statistics of a `snapshot`, and reset the optimizers."""
        if not isinstance(snapshot, tuple) or len(snapshot) != len(self):
            got = f"{len(snapshot)}" if isinstance(snapshot, tuple) else type(snapshot).__name__
            raise ShapeError(f"restore: expected a snapshot of {len(self)} networks, got {got}")
        for model, own in zip(self, snapshot, strict=True):
            model.restore(own)

    def save_checkpoint(self, path: str | Path) -> None:
        """Save everything that `fit` needs to resume, of all networks, as `Model.save_checkpoint` does."""
        checkpoint.write(path, self._captured())

    def load_checkpoint(self, path: str | Path) -> None:
        """Load a file that `save_checkpoint` wrote; `fit` then resumes as if it had never been interrupted.

        Raises CheckpointError if the file cannot be read or belongs to other networks; the ensemble is then
        unchanged.
        """
        self._resume(checkpoint.read(path), path)

    def _captured(self, of_copy: bool = False) -> dict[str, Any]:
        team = self._team
        team.sync()
        networks = [
            checkpoint.capture(team.engine(k).training, self.backend, model.seed, of_copy)
            for k, model in enumerate(self._models)
        ]
        return self._captured_whole(of_copy) | {"networks": networks}

    def _captured_whole(self, of_copy: bool) -> dict[str, Any]:
        """What a checkpoint holds beside the networks."""
        team = self._team
        team.sync()
        return {
            "ensemble": ensemble_files.captured(team.training, self.backend, of_copy),
            "diverged": {str(k): message for k, message in team.diverged.items()},
            "stopped": sorted(team.stopped),
            "restored": {str(k): list(epochs) for k, epochs in self._restored.items()},
        }

    def _resume(self, saved: Any, path: str | Path) -> None:
        try:
            networks, whole = saved["networks"], ensemble_files.restored(saved["ensemble"])
            diverged = {int(k): str(message) for k, message in saved["diverged"].items()}
            stopped = {int(k) for k in saved["stopped"]}
            restored = _restored(saved)
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise CheckpointError(f"{path}: expected the state of an Ensemble ({error!r})") from error
        if len(networks) != len(self):
            raise CheckpointError(f"{path}: expected {len(self)} networks, got {len(networks)}")
        loaded = []
        for k, model in enumerate(self):
            try:
                loaded.append(checkpoint.restore(model.state, self.backend, model.seed, networks[k], path))
            except CheckpointError as error:
                raise CheckpointError(f"network {k}: {error}") from error
        self._team.take_over(loaded, whole, diverged, stopped)
        self._restored = restored

    def __getstate__(self) -> dict[str, Any]:
        saved = self._captured_whole(of_copy=True)
        return {"models": self._models, "options": self._options, "saved": saved}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._assemble(state["models"], **state["options"])
        saved, trainings = state["saved"], [self._team.engine(k).training for k in range(len(self))]
        whole, diverged = ensemble_files.restored(saved["ensemble"]), saved["diverged"]
        self._restored = _restored(saved)
        self._team.take_over(
            trainings, whole, {int(k): message for k, message in diverged.items()}, set(saved["stopped"])
        )

    def __repr__(self) -> str:
        return f"<Ensemble of {len(self)}: {self._models[0]!r}>"


def _restored(saved: Any) -> dict[int, tuple[int, int]]:
    """The epochs that `EarlyStopping` restored, and those in which it did, of a checkpoint."""
    return {int(k): (int(best), int(last)) for k, (best, last) in saved["restored"].items()}

"""Copies and files of the networks of an ensemble."""

from pathlib import Path
from typing import Any

from xpnet._training import checkpoint, ensemble_files, trees, weights
from xpnet._training.inputs import naming
from xpnet.ensemble._networks import Networks
from xpnet.errors import CheckpointError, ShapeError
from xpnet.model import Model
from xpnet.tree import Tree


class SavedNetworks(Networks):
    """The networks with their copies and files. `Ensemble` documents it."""

    def snapshot(self) -> Tree:
        """Copies on the device of parameters and statistics: a tuple of the `snapshot` of each network."""
        return tuple([model.snapshot() for model in self])

    def restore(self, snapshot: Tree) -> None:
        """Restore the parameters and statistics of a `snapshot`, and reset the optimizers.

        Raises ShapeError for arrays of other networks; the ensemble is then unchanged.
        """
        if not isinstance(snapshot, tuple | list) or len(snapshot) != len(self):
            got = f"{len(snapshot)}" if isinstance(snapshot, tuple | list) else type(snapshot).__name__
            raise ShapeError(f"restore: expected a snapshot of {len(self)} networks, got {got}")
        arrays = []
        for k, (model, own) in enumerate(zip(self, snapshot, strict=True)):
            with naming(f"network {k}"):
                arrays.append(trees.like(_variables(model), own, self.backend, "", "restore"))
        for model, own in zip(self, arrays, strict=True):
            model.restore(own)

    def save(self, path: str | Path) -> None:
        """Save the parameters and statistics of all networks to a `.npz` file.

        Its arrays have names like `0.weight`, as those of `Model.save`, and a leading axis of K.
        """
        weights.save_all(path, [_variables(model) for model in self], self.backend)

    def load(self, path: str | Path) -> None:
        """Load parameters and statistics from a file that `save` wrote, and reset the optimizers.

        Raises CheckpointError if the file cannot be read or belongs to other networks; the ensemble is then
        unchanged.
        """
        self.restore(weights.load_all(path, _variables(self[0]), len(self)))

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
            is_model = isinstance(saved, dict) and "networks" not in saved and "params" in saved
            way_out = ", got that of a Model; write ensemble[k].load_checkpoint(path)"
            got = way_out if is_model else f" ({error!r})"
            raise CheckpointError(f"{path}: expected the state of an Ensemble{got}") from error
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


def _restored(saved: Any) -> dict[int, tuple[int, int]]:
    """The epochs that `EarlyStopping` restored, and those in which it did, of a checkpoint."""
    return {int(k): (int(best), int(last)) for k, (best, last) in saved["restored"].items()}


def _variables(model: Model) -> Tree:
    """The parameters and statistics that a network uses outside training."""
    return model.state.variables(model.optimizer)

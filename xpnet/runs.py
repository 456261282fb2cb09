"""Trained runs: `xpnet.load_run`."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from xpnet.train.trained_run import TrainedRun


def load_run(
    folder: str | Path, weights: str = "best", backend: str | None = None, device: str | None = None
) -> "TrainedRun":
    """The trained run in a folder that `train.run` or `scripts/train.py` wrote, to predict with its model.

    Arguments:
        folder: the folder of the run.
        weights: "best", the parameters of the best epoch, or "last", those of the last checkpoint.
        backend: the array library; None: that of the run.
        device: its device; None: that of the run, or with another backend its default.

    Returns a `train.TrainedRun`: `predict`, `predict_proba` and `evaluate` take x as `data.load` gives it or
    as files have it, and `read` reads files.

    Raises ConfigError where the folder is not that of a run, CheckpointError where a file of it is missing or
    damaged, and BackendError where the backend cannot be used.
    """
    from xpnet.train import trained_run  # late: it imports YAML and more

    return trained_run.load_run(folder, weights, backend, device)

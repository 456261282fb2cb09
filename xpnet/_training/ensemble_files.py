"""What a checkpoint of an ensemble holds of it as a whole, beside its networks."""

from typing import Any

from xpnet import tree
from xpnet._training import checkpoint
from xpnet._training.state import Progress, Training
from xpnet.backend import Backend
from xpnet.metrics import EpochMetrics


def captured(training: Training, backend: Backend, of_copy: bool = False) -> dict[str, Any]:
    """The progress of the ensemble, and the states of its callbacks; compare `checkpoint.capture`."""
    progress = training.progress
    last = training.participants if training.unfinished or not of_copy else {}
    participants = {name: participant.state() for name, participant in last.items()}
    everything = {
        "epoch": progress.epoch,
        "batches": checkpoint._fields(progress.batches),
        "history": progress.history,
        "unfinished": training.unfinished,
        "companions": participants | training.rewound | training.loaded,
    }
    return tree.map(lambda leaf: backend.to_numpy(leaf) if backend.owns(leaf) else leaf, everything)


def restored(saved: Any) -> tuple[Progress, bool, dict[str, Any]]:
    """The progress, whether a `fit` was interrupted, and the states of its callbacks."""
    progress = Progress(
        epoch=int(saved["epoch"]),
        batches=checkpoint._batches(saved["batches"]),
        history=tuple([EpochMetrics(*row) for row in saved["history"]]),
    )
    return progress, bool(saved["unfinished"]), dict(saved["companions"])

"""The pictures in the folder of a run: learning curves and the confusion matrix."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from xpnet._util import files
from xpnet.metrics import EpochMetrics
from xpnet.plots import pictures
from xpnet.plots.drawing import Figure, defaults


def curves(path: Path, history: Sequence[EpochMetrics], best: EpochMetrics | None, title: str) -> None:
    """Write `xpnet.plots.curves` to a file."""
    _save(path, pictures.curves(history, best, title))


def confusion(
    path: Path, labels: np.ndarray, predictions: np.ndarray, names: Sequence[str], title: str
) -> None:
    """Write the counts of examples by true and predicted class to a file."""
    _save(path, pictures.confusion(labels, predictions, names, title))


def _save(path: Path, figure: Figure) -> None:
    with defaults(), files.saving(path) as file:
        figure.savefig(file, format="png", dpi=150, backend="agg")

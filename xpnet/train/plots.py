"""The pictures of a run: learning curves and the confusion matrix."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from xpnet._util import files
from xpnet.metrics import EpochMetrics

TRAIN, VALIDATION, MARK = "#1f77b4", "#d95f02", "#666666"


def curves(path: Path, history: Sequence[EpochMetrics], best: EpochMetrics | None, title: str) -> None:
    """Loss and accuracy of training and validation against the epoch, with the best epoch marked."""
    figure = Figure(figsize=(10, 4), layout="constrained")
    figure.suptitle(title)
    left, right = figure.subplots(1, 2)
    _curve(left, history, best, "loss")
    _curve(right, history, best, "accuracy")
    _save(path, figure)


def _curve(axes: Axes, history: Sequence[EpochMetrics], best: EpochMetrics | None, quantity: str) -> None:
    epochs = [metrics.epoch for metrics in history]
    for name, color in (("train", TRAIN), ("validation", VALIDATION)):
        values = [getattr(metrics, f"{name}_{quantity}") for metrics in history]
        if None not in values:  # a run may have no validation examples
            axes.plot(epochs, values, color=color, label=name, marker="o", markersize=3)
    if best is not None and best.validation_accuracy is not None:
        label = (
            f"best: {best.validation_accuracy:.4f} in epoch {best.epoch}" if quantity == "accuracy" else None
        )
        axes.axvline(best.epoch, color=MARK, linewidth=0.8, linestyle=":", label=label)
    axes.set_xlabel("epoch")
    axes.set_ylabel(quantity)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)


def confusion(
    path: Path, labels: np.ndarray, predictions: np.ndarray, names: Sequence[str], title: str
) -> None:
    """The confusion matrix: counts of images by true and predicted class; the diagonal is correct."""
    classes = len(names)
    counts = np.zeros((classes, classes), dtype=int)
    np.add.at(counts, (labels, predictions), 1)
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)

    size = max(5.0, 0.55 * classes)
    figure = Figure(figsize=(size + 1, size), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(image, label="share of the class", shrink=0.8)
    axes.set(xlabel="predicted class", ylabel="true class", title=title)
    long = max(map(len, names)) > 2
    axes.set_xticks(range(classes), names, rotation=45 if long else 0, ha="right" if long else "center")
    axes.set_yticks(range(classes), names)
    if classes <= 20:
        for row, column in zip(*np.nonzero(counts), strict=True):
            color = "white" if share[row, column] > 0.5 else "black"
            axes.text(column, row, counts[row, column], ha="center", va="center", color=color, fontsize=8)
    _save(path, figure)


def _save(path: Path, figure: Figure) -> None:
    with files.saving(path) as file:
        figure.savefig(file, format="png", dpi=150)

"""Learning curves and the confusion matrix, from numbers."""

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from xpnet.plots.drawing import Axes, Figure, Picture, PowerNorm, defaults, one_line, whole_numbers

if TYPE_CHECKING:
    from xpnet.metrics import EpochMetrics

TRAIN, VALIDATION, TEST, MARK = "#1f77b4", "#d95f02", "#4d9221", "#666666"
CURVES = (  # the part of the data, its `train_metrics`, the label, the colour and the line
    ("train", "running", "training, mean during the epoch", TRAIN, "-"),
    ("train", "end", "training, end of epoch", TRAIN, "-"),
    ("validation", "", "validation, end of epoch", VALIDATION, "--"),
    ("test", "", "test, end of epoch", TEST, "-."),
)
SHOWN = 40  # classes in a confusion matrix
NUMBERED = 20  # with numbers in the cells
NAME = 24  # characters of a class name
TITLE_LINES = 3


def curves(history: "Sequence[EpochMetrics]", best: "EpochMetrics | None" = None, title: str = "") -> Picture:
    """Loss and accuracy of training, validation and test against the epoch, with the best epoch marked.

    Targets that are not classes have no accuracy: then the loss alone.
    """
    shown = [each for each in ("loss", "accuracy") if any(_values(history, each))]
    with defaults([title]):
        figure = Picture(figsize=(5 * len(shown), 4), layout="constrained")
        add_title(figure, title)
        for axes, quantity in zip(figure.subplots(1, len(shown), squeeze=False).flat, shown, strict=True):
            _curve(axes, history, best, quantity)
    return figure


def _values(history: "Sequence[EpochMetrics]", quantity: str) -> list[list[float | None]]:
    """The values of each of the `CURVES`, one for each epoch; none where no epoch has any."""
    found = []
    for part, when, *_ in CURVES:
        values = [
            getattr(metrics, f"{part}_{quantity}") if when in ("", metrics.train_metrics) else None
            for metrics in history
        ]
        found.append(values if any(value is not None for value in values) else [])
    return found


def _curve(axes: Axes, history: "Sequence[EpochMetrics]", best: "EpochMetrics | None", quantity: str) -> None:
    epochs = [metrics.epoch for metrics in history]
    for values, (*_, name, color, line) in zip(_values(history, quantity), CURVES, strict=True):
        if values:
            numbers = np.array(values, float)  # nan for None
            axes.plot(epochs, numbers, color=color, linestyle=line, label=name, marker="o", markersize=3)
    if best is not None:
        value = getattr(best, f"validation_{quantity}")
        shown = "" if value is None else f": {value:.4f}"
        axes.axvline(
            best.epoch, color=MARK, linewidth=0.8, linestyle=":", label=f"best epoch, {best.epoch}{shown}"
        )
    axes.set_xlabel("epoch")
    axes.set_ylabel(quantity)
    whole_numbers(axes)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(framealpha=0.9, edgecolor="none")  # a white ground, where lines cross it


def confusion(labels: np.ndarray, predictions: np.ndarray, names: Sequence[str], title: str) -> Picture:
    """The confusion matrix: counts of images by true and predicted class; the diagonal is correct.

    Of more than `SHOWN` classes it shows those of the most frequent errors.
    """
    chosen = most_confused(labels, predictions, len(names))
    counts, totals = count(labels, predictions, chosen, len(names))
    share = counts / np.maximum(totals, 1)[:, np.newaxis]
    if len(chosen) < len(names):
        title += f"\nthe {len(chosen)} of {len(names):,} classes with the most frequent errors"
    shown = short_names(names, chosen)
    with defaults([title, *shown]):
        long = max(map(len, shown)) > 2
        size = max(5.0, (0.55 if len(shown) <= NUMBERED else 0.36) * len(shown)) + 0.07 * max(map(len, shown))
        figure = Picture(figsize=(size + 1, size), layout="constrained")
        add_title(figure, title)
        axes = figure.subplots()
        few = len(shown) <= NUMBERED
        image = axes.imshow(share, cmap="Blues", norm=PowerNorm(1.0 if few else 0.5, vmin=0, vmax=1))
        figure.colorbar(image, label="share of the class", shrink=0.8)
        axes.set(xlabel="predicted class", ylabel="true class")
        ticks = range(len(shown))
        axes.set_xticks(
            ticks, shown, rotation=45 if long else 0, ha="right" if long else "center",
            rotation_mode="anchor" if long else "default", parse_math=False,
        )  # fmt: skip
        axes.set_yticks(ticks, shown, parse_math=False)
        if few:
            for row, column in zip(*np.nonzero(counts), strict=True):
                color = "white" if share[row, column] > 0.5 else "black"
                axes.text(column, row, counts[row, column], ha="center", va="center", color=color, fontsize=8)
    return figure


def short_names(names: Sequence[str], chosen: np.ndarray) -> list[str]:
    """The names of the chosen classes, cut; after the class's number where that leaves them unclear."""
    whole = [" ".join(names[i].split()) for i in chosen]
    cut = [one_line(name, NAME) for name in whole]
    shown = []
    for i, name, short in zip(chosen, whole, cut, strict=True):
        clear = cut.count(short) == 1 and short.count("?") <= name.count("?") and short
        shown.append(short if clear else f"{i}: {one_line(name, NAME - len(f'{i}: '))}")
    return shown


def most_confused(labels: np.ndarray, predictions: np.ndarray, classes: int) -> np.ndarray:
    """The classes to show, in order: all, or the `SHOWN` of the most frequent errors."""
    if classes <= SHOWN:
        return np.arange(classes)
    wrong = labels != predictions
    pairs, times = np.unique(
        np.stack([labels[wrong], predictions[wrong]], axis=-1), axis=0, return_counts=True
    )
    by_errors = pairs[np.argsort(-times, kind="stable")].reshape(-1)
    ranked = dict.fromkeys([*by_errors.tolist(), *range(SHOWN)])  # without errors: the first ones
    return np.sort(list(ranked)[:SHOWN])


def count(
    labels: np.ndarray, predictions: np.ndarray, chosen: np.ndarray, classes: int
) -> tuple[np.ndarray, np.ndarray]:
    """Examples by true and predicted class, for the chosen classes, and all examples of each of them."""
    place = np.full(classes, -1)
    place[chosen] = np.arange(len(chosen))
    rows, columns = place[labels], place[predictions]
    both = (rows >= 0) & (columns >= 0)
    counts = np.zeros((len(chosen), len(chosen)), dtype=int)
    np.add.at(counts, (rows[both], columns[both]), 1)
    return counts, np.bincount(labels, minlength=classes)[chosen]


def add_title(figure: Figure, title: str) -> None:
    """A title over the whole figure, in lines that fit its width, cut in the middle if there are too many."""
    label = figure.suptitle("", parse_math=False)
    lines = [one_line(line, 1000) for line in title.split("\n")]
    columns = max(10, *map(len, lines))
    while columns > 9:
        wrapped = [
            textwrap.wrap(one_line(line, TITLE_LINES * columns), columns, break_on_hyphens=False)
            for line in lines
        ]
        label.set_text("\n".join("\n".join(each) for each in wrapped))
        if label.get_window_extent().width <= 0.96 * figure.bbox.width:
            return
        columns = int(0.95 * columns)

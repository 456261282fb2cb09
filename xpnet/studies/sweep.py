"""Train variants of a config, each with several seeds, and compare the results."""

import dataclasses
import functools
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
from tqdm import tqdm

from xpnet import data
from xpnet.errors import ConfigError
from xpnet.metrics import EpochMetrics
from xpnet.plots.drawing import COLORS, Figure, whole_numbers
from xpnet.studies import _processes, _trainings
from xpnet.studies._trainings import Data as Data
from xpnet.studies._trainings import Run as Run
from xpnet.studies._trainings import train as train
from xpnet.studies.options import Options
from xpnet.studies.report import Report
from xpnet.train.config import Config

QUICK_EXAMPLES = 3000, 500  # of training and test, at most
BASES: dict[str, dict[str, Any]] = {  # by the files of their names in scripts/configs
    "two_layer": {
        "hidden": (128,), "activation": "sigmoid", "weight_init": "normal", "weight_scale": 0.001,
        "learning_rate": 0.1, "momentum": 0.0, "nesterov": False, "l2": 0.001, "epochs": 10, "batch_size": 64,
    },
    "mlp": {},
}  # fmt: skip
Base = Literal["two_layer", "mlp"]
LOSSES = ("train_loss", "validation_loss")
ACCURACIES = ("train_accuracy", "validation_accuracy")
ERRORS = ("train_error", "validation_error")
HUGE = 1e5  # larger values are above the figure: a training that fails may have any
DASHES = ("-", "--", "-.", ":")
MARKERS = "osD^vPX"


@dataclasses.dataclass(frozen=True, eq=False)
class Variant:
    """The runs of one config with several seeds."""

    label: str
    config: Config
    parameters: int
    runs: Sequence[Run]

    def curve(self, quantity: str) -> np.ndarray:
        """A field of `EpochMetrics`, (runs, epochs); nan after an early stop or a divergence.

        All are those at the end of the epoch. "train_error" and "validation_error" are 1 - accuracy.
        """
        if quantity.endswith("_error"):
            return 1 - self.curve(quantity.replace("error", "accuracy"))
        values = np.full((len(self.runs), self.config.epochs), np.nan)
        for row, run in zip(values, self.runs, strict=True):
            row[: len(run.history)] = [getattr(metrics, quantity) for metrics in run.history]
        return values

    def final(self, quantity: str) -> np.ndarray:
        """A quantity after the last epoch, (runs,), such as "train_accuracy" or "test_loss"; nan if diverged.

        Also "test_error" and the like, 1 - accuracy; "gap", training accuracy - test accuracy; "epochs",
        their number; "seconds", the median of an epoch, divided by the number of networks that train
        together; "weight_norm".
        """
        if quantity.endswith("_error"):
            return 1 - self.final(quantity.replace("error", "accuracy"))
        if quantity == "gap":
            return self.final("train_accuracy") - self.final("test_accuracy")
        if quantity == "epochs":
            return np.array([len(run.history) for run in self.runs])
        if quantity == "seconds":
            return np.array([np.median([m.seconds for m in run.history] or [math.nan]) for run in self.runs])
        if quantity == "weight_norm":
            return np.array([run.weight_norm for run in self.runs])
        part, _, name = quantity.partition("_")
        return np.array([getattr(getattr(run, part), name) for run in self.runs], float)

    @property
    def diverged(self) -> int:
        """The number of runs that diverged."""
        return sum(bool(run.diverged) for run in self.runs)

    def mean(self, quantity: str) -> float:
        """The mean of `final` over all runs; nan if one run diverged."""
        return float(self.final(quantity).mean())


def base_config(options: Options, **values: Any) -> Config:
    """A config with these values and the options of the study."""
    return Config(
        dataset=options.dataset,
        data_dir=options.data_dir,
        download=options.download,
        backend=options.backend,
        device=options.device,
        seed=options.seed,
        quiet=True,
        **values,
    )


def load(options: Options, report: Report, config: Config, examples: int | None = None) -> Data:
    """Load the data set and split its first `examples` training examples as the config says.

    A quick study uses at most the first 3,000 training and 500 test examples.
    """
    dataset = options.load_dataset()
    test = dataset.test
    if options.quick:
        most, of_test = QUICK_EXAMPLES
        examples, test = min(examples or most, most), data.Examples(test.x[:of_test], test.y[:of_test])
    try:
        config.check_inputs(dataset.train.x.shape[1:])
    except ConfigError as error:
        raise ConfigError(f"--dataset {options.dataset}: {error}") from error
    report.trained_on(dataset)
    first = data.Examples(dataset.train.x[:examples], dataset.train.y[:examples])
    parts = data.split(
        first, config.train_fraction, config.split, seed=config.seed, names=dataset.class_names
    )
    return Data(*parts, test, dataset.classes)


def sweep(
    base: Config,
    changes: Mapping[str, Mapping[str, Any]],
    seeds: Iterable[int],
    examples: Data | Mapping[str, Data],
    processes: int = 1,
) -> list[Variant]:
    """Train `base` with each change, once for each seed; where only numbers differ, together if that pays.

    Arguments:
        changes: the options that differ, by the label of the variant: `{"0.1": {"learning_rate": 0.1}}`.
        seeds: seeds of the initial weights and the order of the examples.
        examples: the same for all variants, or those of each label.
        processes: trainings at the same time; the results do not depend on it.
    """
    seeds = list(seeds)
    configs = {label: dataclasses.replace(base, **options) for label, options in changes.items()}
    of_label = {label: examples if isinstance(examples, Data) else examples[label] for label in configs}
    sizes = {label: _trainings.size_of(config, of_label[label]) for label, config in configs.items()}
    tasks = [
        _trainings.Task(dataclasses.replace(config, seed=seed), of_label[label], sizes[label])
        for label, config in configs.items()
        for seed in seeds
    ]
    pieces = _trainings.pieces(tasks, processes)
    runs: dict[int, Run] = {}
    with tqdm(total=len(tasks), unit=" trainings", leave=False, disable=None) as bar:
        call = functools.partial(_trainings.run, tasks, pieces)
        for i, found in _processes.results(call, len(pieces), processes):
            runs |= zip(pieces[i], found, strict=True)
            bar.update(len(found))
    each = iter([runs[i] for i in range(len(tasks))])
    return [
        Variant(label, config, sizes[label].parameters, list(itertools.islice(each, len(seeds))))
        for label, config in configs.items()
    ]


def ties(variants: Sequence[Variant]) -> list[Variant]:
    """The variants whose validation accuracy is that of the best one in four digits, in order."""
    means = [f"{variant.mean('validation_accuracy'):.4f}" for variant in variants]
    most = means[variants.index(best(variants))]
    return [variant for variant, mean in zip(variants, means, strict=True) if mean == most]


def winners(variants: Sequence[Variant], prefix: str = "") -> str:
    """The best on validation, and all that look as good: `relu is best`; `relu and tanh are equally best`."""
    labels = [f"{prefix}{variant.label}" for variant in ties(variants)]
    return f"{together(labels)} {'is' if len(labels) == 1 else 'are equally'} best"


def together(words: Sequence[str]) -> str:
    """`a`; `a and b`; `a, b and c`."""
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))


def best(variants: Sequence[Variant], quantity: str = "validation_accuracy") -> Variant:
    """The variant with the highest mean, or the lowest for a loss. Diverged variants do not count."""
    sign = -1 if quantity.endswith("loss") else 1
    return max(variants, key=lambda variant: np.nan_to_num(sign * variant.mean(quantity), nan=-np.inf))


def listed(variants: Sequence[Variant], quantity: str, spec: str = ".4f", word: str = "with") -> str:
    """Each variant's mean in words: `0.9012 with 0.1; 0.8825 with 0.3; diverged with 10`."""
    means = [variant.mean(quantity) for variant in variants]
    words = ["diverged" if math.isnan(mean) else format(mean, spec) for mean in means]
    return "; ".join(f"{each} {word} {variant.label}" for each, variant in zip(words, variants, strict=True))


def table(
    report: Report,
    name: str,
    variants: Sequence[Variant],
    what: str,
    caption: str,
    more: Sequence[str] = (),
) -> None:
    """Add a row for each variant: final means over the seeds, and the range of the test accuracy.

    `more` names further quantities of `Variant.final`, whose means come before the last column. All epochs of
    all runs go to the file `name`-epochs.csv.
    """
    if "seconds" in more:
        caption += " Networks that train together share the seconds of an epoch in equal parts."
    columns = [
        *(what, "parameters", "train loss", "train accuracy", "validation accuracy"),
        *("test accuracy", "test, least", "test, greatest"),
        *(quantity.replace("_", " ") for quantity in more),
        "diverged",
    ]
    rows = []
    for variant in variants:
        test = variant.final("test_accuracy")
        means = [variant.mean(q) for q in ("train_loss", "train_accuracy", "validation_accuracy")]
        diverged = f"{variant.diverged} of {len(variant.runs)}" if variant.diverged else "no"
        others = [variant.mean(quantity) for quantity in more]
        tests = [test.mean(), test.min(), test.max()]
        rows.append([variant.label, variant.parameters, *means, *tests, *others, diverged])
    formats = {
        column: ".4f" for column in columns if column.endswith(("accuracy", "least", "greatest", "gap"))
    }
    report.table(name, columns, rows, caption, formats)
    epochs = [
        (variant.label, run.seed, *metrics)
        for variant in variants
        for run in variant.runs
        for metrics in run.history
    ]
    report.numbers(
        f"{name}-epochs", [what, "seed", *EpochMetrics._fields], epochs,
        "All epochs of all runs; loss and accuracy are those at the end of the epoch:",
    )  # fmt: skip


def colors(count: int) -> list[str]:
    """`count` colours; the first seven differ for colour-blind readers, too."""
    return [COLORS[i % len(COLORS)] for i in range(count)]


def styles(count: int) -> list[dict[str, Any]]:
    """`count` styles of lines that differ in colour, dashes and markers, for screens, print and all eyes."""
    return [
        {
            "color": color,
            "linestyle": DASHES[(i % len(COLORS) + i // len(COLORS)) % len(DASHES)],
            "marker": MARKERS[i % len(MARKERS)],
        }
        for i, color in enumerate(colors(count))
    ]


def curves(
    variants: Sequence[Variant], quantity: str, what: str = "", log: bool = False, ylabel: str = ""
) -> Figure:
    """`Variant.curve` against the epoch: the mean over the seeds, in a band from least to greatest.

    The line ends where the first run diverged or stopped early: later epochs have no mean.
    """
    figure, axes = axes_of("epoch", ylabel or quantity.replace("_", " "))
    for variant, style in zip(variants, styles(len(variants)), strict=True):
        values = variant.curve(quantity)
        epochs = np.arange(1, values.shape[1] + 1)
        axes.plot(epochs, values.mean(0), label=variant.label, markersize=3, **style)
        axes.fill_between(epochs, values.min(0), values.max(0), color=style["color"], alpha=0.2, linewidth=0)
    whole_numbers(axes)
    if log:
        axes.set_yscale("log")
        axes.set_ylim(top=min(axes.get_ylim()[1], HUGE))
    legend(figure, what)
    return figure


def against(
    variants: Sequence[Variant],
    values: Sequence[float],
    xlabel: str,
    quantities: Sequence[str],
    log: bool = True,
) -> Figure:
    """Final quantities against the number that was changed: mean and range over the seeds.

    With `log` the x axis is logarithmic; if `values` has a 0, it is linear from 0 to the least other value.
    The axis of losses is logarithmic, too.
    """
    one = len(quantities) == 1
    figure, axes = axes_of(
        xlabel, quantities[0].replace("_", " ") if one else quantities[0].partition("_")[2]
    )
    for quantity, style in zip(quantities, styles(len(quantities)), strict=True):
        finals = np.array([variant.final(quantity) for variant in variants])
        mean, low, high = finals.mean(1), finals.min(1), finals.max(1)
        bars = np.array([mean - low, high - mean])
        axes.errorbar(
            values,
            mean,
            bars,
            label=quantity.replace("_", " "),
            markersize=4,
            capsize=3,
            **style,
        )
    if log and 0 in values:
        axes.set_xscale("symlog", linthresh=min(value for value in values if value))
    elif log:
        axes.set_xscale("log")
    if all(quantity.endswith("loss") for quantity in quantities):
        axes.set_yscale("log")
        axes.set_ylim(top=min(axes.get_ylim()[1], HUGE))
    if not one:
        legend(figure)
    return figure


def axes_of(xlabel: str, ylabel: str, size: tuple[float, float] = (5.2, 3.7)) -> tuple[Figure, Any]:
    """A figure with one pair of axes, in the style of all studies."""
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots()
    axes.set(xlabel=xlabel, ylabel=ylabel)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def legend(figure: Figure, title: str = "") -> None:
    """Add a legend below the axes, in as many columns as fit."""
    _, labels = figure.axes[0].get_legend_handles_labels()
    columns = max(1, min(5, 72 // (6 + max(map(len, labels)))))
    figure.legend(loc="outside lower center", ncols=columns, frameon=False, fontsize=9, title=title or None)

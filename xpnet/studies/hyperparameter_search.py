"""Hyper-parameters found by a search.

How large a network, which activation, which learning rate, batch size and penalty? They depend on each
other, so they are searched for together. A trial draws all of them, trains, and is judged by the validation
examples; one that is worse than most after an epoch is given up ("pruned"). After some random trials the
sampler draws from where the better ones were. (Bergstra, Bardenet, Bengio and Kégl, "Algorithms for
hyper-parameter optimization", 2011; Akiba et al., "Optuna: a next-generation hyperparameter optimization
framework", 2019.)

The largest of many noisy numbers is too large. So the best hyper-parameters are trained again with other
seeds, beside the default ones, and the test examples are looked at only then.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import optuna
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.trial import FrozenTrial, TrialState

from xpnet.studies import search, sweep
from xpnet.studies.options import Options
from xpnet.studies.report import Report
from xpnet.train.config import Config, option_name

SPACE = (
    ("hidden layers", "1, 2 or 3"),
    ("units", "64, 128, 256 or 512 in each of them"),
    ("activation", "ReLU, GELU, tanh or sigmoid"),
    ("learning rate", "0.001 to 0.5, log scale"),
    ("batch size", "32, 64, 128 or 256"),
    ("L2", "10⁻⁶ to 10⁻², log scale"),
)
NAMES = tuple(name for name, _ in SPACE)
BETTER = 0.25  # importance: what sets the best quarter of the complete trials apart
GOAL = 0.97  # validation accuracy on all of MNIST
COLORS = {"complete": "#1f77b4", "pruned": "#bbbbbb", "diverged": "#d95f02"}


def run(options: Options, report: Report, settings: search.Settings | None = None) -> None:
    """Search, tell of the trials, and compare the best one with the default."""
    settings = settings or options.choose(search.Settings(), quick=search.QUICK)
    base = sweep.base_config(options, epochs=settings.epochs)
    report.config(base)
    report.config({"trials": settings.trials, "repeats": settings.repeats})
    examples = sweep.load(options, report, base)
    with search.opened(report.folder) as study:
        search.write_settings(report.folder, options, settings)
        print(f"if it is broken off: python scripts/search.py --resume {report.folder}", flush=True)
        trials = search.run(study, base, examples, settings.trials)
        tell_of_trials(report, trials, settings)
        whole = [trial for trial in trials if trial.state == TrialState.COMPLETE]
        if not whole:
            report.text("No trial came to its end, so there is no best one.")
            return
        importances(report, study, len(whole))
        best = study.best_trial
        compare(report, base, best, examples, settings)


def fate(trial: FrozenTrial) -> str:
    """How it ended: "complete", "pruned" or "diverged"."""
    if "diverged" in trial.user_attrs:
        return "diverged"
    return "complete" if trial.state == TrialState.COMPLETE else "pruned"


def last_accuracy(trial: FrozenTrial) -> float:
    """The validation accuracy after the last epoch that it did, 0 where it did none."""
    values = trial.intermediate_values
    return values[max(values)] if values else 0.0


def tell_of_trials(report: Report, trials: Sequence[FrozenTrial], settings: search.Settings) -> None:
    """The space, the trials, and whether the sampler and the pruner were of use."""
    report.section("The search")
    report.table("space", ["hyper-parameter", "searched"], SPACE, "What a trial draws from.")
    report.figure(
        [history(trials), curves(trials)],
        f"The {len(trials)} trials, and the share of wrong answers after every epoch that each of them did.",
    )
    rows = [
        [
            i, fate(trial), len(trial.intermediate_values), last_accuracy(trial),
            *(trial.params[name] for name in NAMES),
            trial.duration.total_seconds() if trial.duration else math.nan,
        ]
        for i, trial in enumerate(trials, 1)
    ]  # fmt: skip
    columns = ["trial", "state", "epochs", "validation accuracy", *NAMES, "seconds"]
    report.table(
        "trials", columns, rows, "All trials, and the accuracy after the last epoch that each of them did.",
        {"validation accuracy": ".4f", "seconds": ".1f"},
    )  # fmt: skip
    values = [
        (i, epoch, accuracy)
        for i, trial in enumerate(trials, 1)
        for epoch, accuracy in trial.intermediate_values.items()
    ]
    report.numbers(
        "trials-epochs", ["trial", "epoch", "validation accuracy"], values, "Every epoch of every trial:"
    )
    fates = [fate(trial) for trial in trials]
    seconds = sum(trial.duration.total_seconds() for trial in trials if trial.duration)
    done, whole = sum(len(trial.intermediate_values) for trial in trials), len(trials) * settings.epochs
    report.text(
        f"Of {len(trials)} trials {fates.count('complete')} took all {settings.epochs} epochs, "
        f"{fates.count('pruned')} were given up before, and {fates.count('diverged')} diverged. Together "
        f"they did {done:,} epochs in {seconds:.0f} seconds, {1 - done / whole:.0%} fewer than without "
        "pruning."
    )
    report.expect(
        "Giving up bad trials saves a tenth of the epochs or more.",
        f"{done:,} of {whole:,} epochs were done.",
        done <= 0.9 * whole,
    )
    first, later = trials[: search.RANDOM_TRIALS], trials[search.RANDOM_TRIALS :]
    if later:
        medians = [float(np.median([last_accuracy(trial) for trial in part])) for part in (first, later)]
        report.expect(
            f"The trials that go by those before have a higher median accuracy than the first {len(first)}, "
            "which are random.",
            f"{medians[1]:.4f} against {medians[0]:.4f}.",
            medians[1] > medians[0],
        )


def importances(report: Report, study: optuna.Study, whole: int) -> None:
    """Which hyper-parameters set the best trials apart."""
    report.section("What mattered")
    if math.ceil(BETTER * whole) in (whole, 0):
        report.text(f"{whole} trials that came to their end are too few to tell.")
        return
    found = get_param_importances(study, evaluator=PedAnovaImportanceEvaluator(target_quantile=BETTER))
    figure, axes = sweep.axes_of("importance", "")
    axes.barh(list(found)[::-1], list(found.values())[::-1], color="#1f77b4")
    trials = search.finished(study)
    rates, rate_axes = scatter(trials, [t.params["learning rate"] for t in trials], "learning rate")
    rate_axes.set_xscale("log")
    sweep.legend(rates)
    report.figure(
        [figure, rates],
        f"Left, PED-ANOVA: how far the best {math.ceil(BETTER * whole)} of the {whole} complete trials "
        "differ in each hyper-parameter from all of them, as shares of 1. Right, the learning rates of all.",
    )
    report.table(
        "importance", ["hyper-parameter", "importance"], found.items(), "The same numbers.",
        {"importance": ".3f"},
    )  # fmt: skip
    report.text(
        "Importance is that within what was tried, by trials that were not given up: a hyper-parameter whose "
        "bad values were all pruned, or that the sampler soon held still, seems to matter less. (Watanabe, "
        "Bansal and Hutter, “PED-ANOVA”, 2023.)"
    )
    first = next(iter(found))
    report.expect(
        "The learning rate is the most important hyper-parameter.",
        f"It is the {first}, with {found[first]:.3f}; the learning rate has {found['learning rate']:.3f}.",
        first == "learning rate",
    )


def compare(
    report: Report, base: Config, best: FrozenTrial, examples: sweep.Data, settings: search.Settings
) -> None:
    """Train the best hyper-parameters and the default ones again, with seeds that the search did not have."""
    seeds = range(base.seed + 1, base.seed + 1 + settings.repeats)
    default, found = sweep.sweep(base, {"default": {}, "best trial": search.chosen(best)}, seeds, examples)
    report.section("The best against the default")
    report.text("The best trial's hyper-parameters, as a training of their own:")
    report.code(" \\\n    ".join(["python scripts/train.py", *as_options(base, best)]))
    report.figure(
        [
            sweep.curves([default, found], "train_loss", log=True),
            sweep.curves([default, found], "validation_accuracy"),
        ],
        f"Mean and range over {len(seeds)} seeds, none of which the search had.",
    )
    sweep.table(
        report, "best-and-default", [default, found], "hyper-parameters",
        f"After {base.epochs} epochs: means over the seeds, and the test's range.", ["seconds"],
    )  # fmt: skip
    value, again = float(best.value or 0.0), found.mean("validation_accuracy")
    report.text(
        f"The best trial had a validation accuracy of {value:.4f}. With other seeds its hyper-parameters "
        f"come to {again:.4f} on average, from {found.final('validation_accuracy').min():.4f} to "
        f"{found.final('validation_accuracy').max():.4f}: {'less' if again < value else 'no less'} than in "
        f"the search. On the test examples they have {found.mean('test_accuracy'):.4f}, the default ones "
        f"{default.mean('test_accuracy'):.4f}. The networks have {found.parameters:,} and "
        f"{default.parameters:,} parameters."
    )
    report.expect(
        "With other seeds, the best trial's hyper-parameters have a lower validation accuracy than in the "
        "search, which chose the largest of many.",
        f"{again:.4f} on average, {value:.4f} in the search.",
        again < value,
    )
    for part in ("validation", "test"):
        report.expect(
            f"They have a higher {part} accuracy than the default ones.",
            f"{sweep.listed([found, default], f'{part}_accuracy')}.",
            found.mean(f"{part}_accuracy") > default.mean(f"{part}_accuracy"),
        )
    if base.dataset == "mnist":
        report.expect(
            f"On all of MNIST, they have a validation accuracy of {GOAL:.0%} or more.",
            f"{again:.4f} on average, {value:.4f} in the search.",
            again >= GOAL,
        )


def as_options(base: Config, best: FrozenTrial) -> list[str]:
    """The trial's config for a command line."""
    options = [f"--dataset {base.dataset}", f"--epochs {base.epochs}"]
    for name, value in search.chosen(best).items():
        values = value if isinstance(value, tuple) else (value,)
        words = [f"{each:.6g}" if isinstance(each, float) else str(each) for each in values]
        options.append(f"{option_name(name)} {' '.join(words)}")
    return options


def history(trials: Sequence[FrozenTrial]) -> Figure:
    """The last error of each trial, and the least so far of those that are complete."""
    figure, axes = scatter(trials, [float(i) for i in range(1, len(trials) + 1)], "trial")
    errors = [1 - last_accuracy(trial) if fate(trial) == "complete" else np.inf for trial in trials]
    least = np.minimum.accumulate(errors)
    least[np.isinf(least)] = np.nan
    axes.step(range(1, len(trials) + 1), least, where="post", color="#1b9e77", label="best so far")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    sweep.legend(figure)
    return figure


def scatter(trials: Sequence[FrozenTrial], values: Sequence[float], xlabel: str) -> tuple[Figure, Any]:
    """A point for each trial: its last error against the value, coloured by how it ended."""
    figure, axes = sweep.axes_of(xlabel, "validation error")
    for name, color in COLORS.items():
        points = [
            (value, 1 - last_accuracy(trial))
            for trial, value in zip(trials, values, strict=True)
            if fate(trial) == name
        ]
        if points:
            axes.scatter(*zip(*points, strict=True), color=color, label=name, s=22, zorder=2)
    axes.set_yscale("log")
    return figure, axes


def curves(trials: Sequence[FrozenTrial]) -> Figure:
    """The error of each trial against the epoch."""
    figure, axes = sweep.axes_of("epoch", "validation error")
    for name, color in COLORS.items():
        lines = [trial.intermediate_values for trial in trials if fate(trial) == name]
        for i, values in enumerate(lines):
            errors = [1 - accuracy for accuracy in values.values()]
            label = None if i else name
            axes.plot(list(values), errors, color=color, marker="o", markersize=2.5, linewidth=1, label=label)
    axes.set_yscale("log")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    sweep.legend(figure)
    return figure

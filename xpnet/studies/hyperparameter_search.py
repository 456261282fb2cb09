"""Hyper-parameters found by a search.

The best network size, activation, learning rate, batch size and penalty depend on each other, so they are
searched for together. A trial draws all of them and trains; its value is the validation accuracy. A trial
that is worse than most after an epoch is stopped ("pruned"). After some random trials, the sampler draws from
regions where trials were better. (Bergstra, Bardenet, Bengio and Kégl, "Algorithms for hyper-parameter
optimization", 2011; Akiba et al., "Optuna: a next-generation hyperparameter optimization framework", 2019.)

All trials train by gradient descent with Nesterov's momentum of 0.9, from He's initial weights, with a
learning rate that falls like half a cosine.

The largest of many noisy numbers overestimates. So the best hyper-parameters and the default ones, those of
`scripts/configs/two_layer.yaml`, are trained again with new seeds, and only these trainings are tested.
"""

import math
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import optuna
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.trial import FrozenTrial, TrialState

from xpnet._util.output import say
from xpnet._util.text import program, some
from xpnet.plots.drawing import Figure, whole_numbers
from xpnet.studies import _search_run, _search_trials, search, sweep
from xpnet.studies.options import Options
from xpnet.studies.report import Report
from xpnet.train import recorded_data
from xpnet.train.config import Config, option_name

SPACE = (
    ("hidden layers", "1, 2 or 3"),
    ("units", "64, 128, 256 or 512 in each hidden layer"),
    ("activation", "ReLU, GELU, tanh or sigmoid"),
    ("learning rate", "0.003 to 0.3, log scale"),
    ("batch size", "32, 64, 128 or 256"),
    ("L2", "10⁻⁶ to 10⁻³, log scale"),
)
NAMES = tuple(name for name, _ in SPACE)
BETTER = 0.25  # importance: how the best quarter of the complete trials differs
GOALS = {"validation": 0.97, "test": 0.98}  # accuracies on all of MNIST
LUCK = 0.02  # by which the largest of many noisy accuracies may be too large
STYLES = {
    "complete": {"color": "#1f77b4", "marker": "o"},
    "pruned": {"color": "#999999", "marker": "x"},
    "diverged": {"color": "#d95f02", "marker": "^"},
}


def run(options: Options, report: Report, settings: search.Settings | None = None) -> None:
    """Search, report the trials, and compare the best trial with the default."""
    examples = sweep.load(options, report, sweep.base_config(options))
    settings = settings or options.choose(examples.choose(search.Settings(), search.LARGE), search.QUICK)
    base = sweep.base_config(options, epochs=settings.epochs, **search.FIXED)
    report.config(base)
    assert report.dataset is not None
    with _search_run.opened(report, options, settings, recorded_data.describe(report.dataset)) as found:
        settings = found.settings
        report.config({"trials": settings.trials, "repeats": settings.repeats})
        if settings.workers > 1:
            report.config({"workers": settings.workers})
        say(f"if interrupted: {_search_run.resume_line(report.folder, settings)}")
        trials = _search_run.run(found, base, examples)
        with _search_run.reporting(found):
            report_trials(report, trials, settings)
            whole = [trial for trial in trials if trial.state == TrialState.COMPLETE]
            if not whole:
                report.text("No trial is complete, so there is no best one.")
                return
            importances(report, found.study, len(whole))
            compare(options, report, base, found.study.best_trial, examples, settings)


def fate(trial: FrozenTrial) -> str:
    """The end of a trial: "complete", "pruned" or "diverged"."""
    if "diverged" in trial.user_attrs:
        return "diverged"
    return "complete" if trial.state == TrialState.COMPLETE else "pruned"


def last_accuracy(trial: FrozenTrial) -> float:
    """The validation accuracy after the last epoch of the trial, or 0 if it has none."""
    values = trial.intermediate_values
    return values[max(values)] if values else 0.0


def first_accuracy(trial: FrozenTrial) -> float:
    """The validation accuracy after the first epoch of the trial, or 0 if it has none."""
    return trial.intermediate_values.get(1, 0.0)


def report_trials(report: Report, trials: Sequence[FrozenTrial], settings: search.Settings) -> None:
    """Add the space, the trials, and whether sampler and pruner helped."""
    report.section("The search")
    report.table("space", ["hyper-parameter", "searched"], SPACE, "The space that trials draw from.")
    report.figure(
        [history(trials), curves(trials)],
        f"{some(len(trials), 'trial')}, and the validation error after each of the epochs.",
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
        "trials", columns, rows, "All trials, and the accuracy after their last epoch.",
        {"validation accuracy": ".4f", "seconds": ".1f"},
    )  # fmt: skip
    values = [
        (i, epoch, accuracy)
        for i, trial in enumerate(trials, 1)
        for epoch, accuracy in trial.intermediate_values.items()
    ]
    report.numbers(
        "trials-epochs", ["trial", "epoch", "validation accuracy"], values, "All epochs of all trials:"
    )
    fates = [fate(trial) for trial in trials]
    seconds = sum(trial.duration.total_seconds() for trial in trials if trial.duration)
    done, whole = sum(len(trial.intermediate_values) for trial in trials), len(trials) * settings.epochs
    report.text(
        f"Of {some(len(trials), 'trial')}, {fates.count('complete')} ran to the end, "
        f"{fates.count('pruned')} {'was' if fates.count('pruned') == 1 else 'were'} pruned, and "
        f"{fates.count('diverged')} diverged. Together they ran "
        f"{some(done, 'epoch')} in {seconds:.0f} seconds, {1 - done / whole:.0%} fewer than without "
        "pruning."
    )
    if _search_trials.at_the_same_time(trials):
        report.text(
            "Several processes ran trials at the same time. What is proposed from trial "
            f"{search.RANDOM_TRIALS + 1} on, and which trials are pruned, depends on the trials that have "
            "ended by then: on the speed of the processes. The same search gives other trials the next time."
        )
    report.expect(
        "Pruning saves at least a tenth of the epochs.",
        f"{done:,} of {some(whole, 'epoch')} {'was' if done == 1 else 'were'} run.",
        done <= 0.9 * whole,
    )
    first, later = trials[: search.RANDOM_TRIALS], trials[search.RANDOM_TRIALS :]
    if later:
        medians = [float(np.median([first_accuracy(trial) for trial in part])) for part in (first, later)]
        report.expect(
            "After one epoch, the trials that use earlier results have a higher median accuracy than the "
            f"first {len(first)}, which are random.",
            f"{medians[1]:.4f} against {medians[0]:.4f}.",
            medians[1] > medians[0],
        )


def importances(report: Report, study: optuna.Study, whole: int) -> None:
    """Add the importance of each hyper-parameter."""
    report.section("What mattered")
    if math.ceil(BETTER * whole) in (whole, 0):
        report.text(f"Too few complete trials to measure importance: {whole}.")
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # of PED-ANOVA, until Optuna 5
        evaluator = PedAnovaImportanceEvaluator(target_quantile=BETTER)
    found = get_param_importances(study, evaluator=evaluator)
    figure, axes = sweep.axes_of("importance", "")
    axes.barh(list(found)[::-1], list(found.values())[::-1], color="#1f77b4")
    trials = search.finished(study)
    rates, rate_axes = scatter(trials, [t.params["learning rate"] for t in trials], "learning rate")
    rate_axes.set_xscale("log")
    sweep.legend(rates)
    report.figure(
        [figure, rates],
        f"Left, PED-ANOVA: how much the best {math.ceil(BETTER * whole)} of the {whole} complete trials "
        "differ from all of them in each hyper-parameter, as shares of 1. Right, the learning rates of all "
        "trials.",
    )
    report.table(
        "importance", ["hyper-parameter", "importance"], found.items(), "The same numbers.",
        {"importance": ".3f"},
    )  # fmt: skip
    complete = [t.params["learning rate"] for t in trials if t.state == TrialState.COMPLETE]
    low, high = np.quantile(complete, [0.25, 0.75])
    drawn = [t.params["learning rate"] for t in trials[: search.RANDOM_TRIALS]]
    report.text(
        "Importance covers only complete trials: a hyper-parameter seems to matter less if all trials with "
        "bad values were pruned, or if the sampler soon stopped varying it. Here, the middle half of the "
        f"complete trials have learning rates from {low:.2g} to {high:.2g}; the search began with "
        f"{min(drawn):.2g} to {max(drawn):.2g}. (Watanabe, Bansal and Hutter, “PED-ANOVA”, 2023.)"
    )
    first = next(iter(found))
    report.expect(
        "The learning rate is the most important hyper-parameter.",
        f"The most important one is the {first}, with {found[first]:.3f}; the learning rate has "
        f"{found['learning rate']:.3f}.",
        first == "learning rate",
    )


def compare(
    options: Options,
    report: Report,
    base: Config,
    best: FrozenTrial,
    examples: sweep.Data,
    settings: search.Settings,
) -> None:
    """Train the best hyper-parameters and the default ones with seeds that the search did not use."""
    seeds = range(base.seed + 1, base.seed + 1 + settings.repeats)
    changes = {
        "default": sweep.BASES["two_layer"] | {"schedule": "constant"},
        "best trial": search.chosen(best),
    }
    default, found = sweep.sweep(base, changes, seeds, examples, options.process_count())
    report.section("The best against the default")
    report.text("The command that trains with the hyper-parameters of the best trial:")
    report.code(" \\\n    ".join([program("train"), *as_options(base, best)]))
    report.figure(
        [
            sweep.curves([default, found], "train_loss", log=True),
            sweep.curves([default, found], "validation_accuracy"),
        ],
        f"Mean and range over {some(len(seeds), 'seed')} that the search did not use. The default options "
        "are those of `two_layer.yaml`.",
    )
    sweep.table(
        report, "best-and-default", [default, found], "hyper-parameters",
        f"After the last epoch: means over the seeds, and the range of the test accuracy; the best trial has "
        f"{some(base.epochs, 'epoch')}, the default {default.config.epochs}. Seconds are those of an epoch.",
        ["seconds"],
    )  # fmt: skip
    value, again = float(best.value or 0.0), found.mean("validation_accuracy")
    report.text(
        f"The best trial had a validation accuracy of {value:.4f}. With new seeds its hyper-parameters "
        f"reach {again:.4f} on average, from {found.final('validation_accuracy').min():.4f} to "
        f"{found.final('validation_accuracy').max():.4f}: {'less' if again < value else 'no less'} than in "
        f"the search. On the test examples they reach {found.mean('test_accuracy'):.4f}, the default ones "
        f"{default.mean('test_accuracy'):.4f}. The networks have {found.parameters:,} and "
        f"{default.parameters:,} parameters."
    )
    report.expect(
        "The best trial was no accident of its seed: with new seeds its validation accuracy is at most "
        f"{LUCK:.0%} lower.",
        f"{again:.4f} on average, {value:.4f} in the search.",
        again >= value - LUCK,
    )
    for part in ("validation", "test"):
        ours, theirs = (each.final(f"{part}_accuracy") for each in (found, default))
        report.expect(
            f"The best hyper-parameters beat the default ones in {part} accuracy by more than the spread "
            "over the seeds: the least of theirs is above the greatest of the default.",
            f"Margin {ours.min() - theirs.max():.4f}: {ours.min():.4f} to {ours.max():.4f} against "
            f"{theirs.min():.4f} to {theirs.max():.4f}.",
            ours.min() > theirs.max(),
        )
        if base.dataset == "mnist":
            report.expect(
                f"On all of MNIST, the best hyper-parameters have a {part} accuracy of {GOALS[part]:.0%} or "
                "more.",
                f"{ours.mean():.4f} on average, {ours.min():.4f} at least.",
                ours.mean() >= GOALS[part],
            )


def as_options(base: Config, best: FrozenTrial) -> list[str]:
    """The hyper-parameters of the trial as command-line options."""
    options = [f"--dataset {base.dataset}", f"--epochs {base.epochs}"]
    for name, value in (search.FIXED | search.chosen(best)).items():
        values = value if isinstance(value, tuple) else (value,)
        words = [f"{each:.6g}" if isinstance(each, float) else str(each) for each in values]
        options.append(f"{option_name(name)} {' '.join(words)}")
    return options


def history(trials: Sequence[FrozenTrial]) -> Figure:
    """The last error of each trial, and the least error so far of the complete trials."""
    figure, axes = scatter(trials, [float(i) for i in range(1, len(trials) + 1)], "trial")
    errors = [1 - last_accuracy(trial) if fate(trial) == "complete" else np.inf for trial in trials]
    least = np.minimum.accumulate(errors)
    least[np.isinf(least)] = np.nan
    axes.step(range(1, len(trials) + 1), least, where="post", color="#1b9e77", label="best so far")
    whole_numbers(axes)
    sweep.legend(figure)
    return figure


def scatter(trials: Sequence[FrozenTrial], values: Sequence[float], xlabel: str) -> tuple[Figure, Any]:
    """The last error of each trial against the value; the colour shows how the trial ended."""
    figure, axes = sweep.axes_of(xlabel, "validation error")
    for name, style in STYLES.items():
        points = [
            (value, 1 - last_accuracy(trial))
            for trial, value in zip(trials, values, strict=True)
            if fate(trial) == name
        ]
        if points:
            axes.scatter(*zip(*points, strict=True), label=name, s=22, zorder=2, **style)
    axes.set_yscale("log")
    return figure, axes


def curves(trials: Sequence[FrozenTrial]) -> Figure:
    """The error of each trial against the epoch."""
    figure, axes = sweep.axes_of("epoch", "validation error")
    for name, style in STYLES.items():
        lines = [trial.intermediate_values for trial in trials if fate(trial) == name]
        for i, values in enumerate(lines):
            errors = [1 - accuracy for accuracy in values.values()]
            label = None if i else name
            axes.plot(list(values), errors, markersize=3, linewidth=1, label=label, **style)
    axes.set_yscale("log")
    whole_numbers(axes)
    sweep.legend(figure)
    return figure
